"""An attacker who knows of the noise, without being told how much: it measures first."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax.attacks.steps import ask_tell
from orjax.attacks.wrappers import pilot as pilots
from orjax.attacks.wrappers import statistics
from orjax.attacks.wrappers.choices import Choice
from orjax.attacks.wrappers.choices import choose
from orjax.attacks.wrappers.pilot import Pilot
from orjax.attacks.wrappers.pilot import PilotState
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective
from orjax.types import Oracle


class InformedState(NamedTuple):
  """What was measured, and the inner attack's state, which means nothing until that is done.

  `pilot.num_steps` is one more than the pilot's steps once the inner attack has begun. `chosen`
  is what was chosen, for the record: which of `statistics.NAMES`, `in_tiles`, and the `length`
  of a probe; all False and 0 until then.
  """

  pilot: PilotState
  inner: Any
  adversarial: jax.Array
  chosen: dict[str, jax.Array]


def _num_rows(attack, oracle, key, example, state):
  """Rows that a step asks; nothing is asked."""
  asked = []

  def query(query_key, images):
    asked.append(len(images))
    return oracle.query(query_key, images)

  counting = Oracle(query, oracle.queries_per_row)
  jax.eval_shape(lambda *args: attack.step(args[0], counting, *args[1:]), key, example, state)
  return sum(asked)


def _chosen(choice, begun):
  picked = {name: choice.statistic == i for i, name in enumerate(statistics.NAMES)}
  chosen = {**picked, "in_tiles": choice.in_tiles, "length": choice.length}
  return {name: jnp.where(begun, x, jnp.zeros_like(x)) for name, x in chosen.items()}


@factory
def informed(
  make_attack: Callable[[Choice], Attack],
  success: Objective,
  *,
  num_averaged: int,
  num_votes: int,
  longest: float = np.inf,
  step_size: float | None = None,
  pilot: Pilot = Pilot(),
) -> Attack:
  """Measures the noise and what it hides, then attacks with what the measurements speak for.

  The first steps are a pilot's: the inner attack's questions are replaced by the pilot's, as
  many of them, and it begins once those are answered. Then the statistic, the
  probe length and the subspace are known of which the probe-length law predicts the best
  gradient. Nothing about the noise is told by hand.

  Args:
    make_attack: from a (traced) choice to the attack that uses it. It asks the oracle within
      the trace of its step, not in a loop or a vmap of its own. One of fewer rows a step than
      a pilot needs, such as a random search, comes in blocks: `in_blocks`.
    success: whose `achieved` is the test, untargeted.
    num_averaged: pairs of probes of a whole descent, which averages them; 1 of a search,
      which averages none.
    num_votes: answers that confirm a success, for `Choice.agreement`.
    longest: l2 length of its probes at most.
    step_size: of a descent, in every pixel: shorter probes follow slopes that a step leaves.
      None for what does not move all pixels.
    pilot: how much is measured.

  Returns:
    An `Attack` whose steps ask as many rows as the inner one's.

  Raises:
    ValueError: a step asks too few rows for a pilot.
  """

  def choice_of(state, example):
    return choose(
      state,
      example,
      success,
      num_averaged=num_averaged,
      num_votes=num_votes,
      longest=longest,
      step_size=step_size,
    )

  def init(key, example):
    measured = pilots.init(pilot, example)
    choice = choice_of(measured, example)
    inner = make_attack(choice).init(key, example)
    return InformedState(measured, inner, example.image, _chosen(choice, False))

  def step(key, oracle, example, state):
    pilot_key, step_key, init_key, count_key = jax.random.split(key, 4)
    choice = choice_of(state.pilot, example)
    attack = make_attack(choice)
    num_rows = _num_rows(attack, oracle, count_key, example, state.inner)
    total = sum(pilot.steps(num_rows))
    measuring = state.pilot.num_steps < total
    points, notes = pilots.ask(pilot, pilot_key, example, state.pilot, num_rows)
    answers = []

    def query(query_key, images):
      done = sum(map(len, answers))
      rows = oracle.query(
        query_key, jnp.where(measuring, points[done : done + len(images)], images)
      )
      answers.append(rows)
      return rows

    # Until the first step of its own the inner attack has no state that was told anything.
    begun = state.pilot.num_steps > total
    inner = ask_tell.select(begun, state.inner, attack.init(init_key, example))
    instead = Oracle(query, oracle.queries_per_row)
    inner, info = attack.step(step_key, instead, example, inner)
    inner = ask_tell.select(measuring, state.inner, inner)
    rows = jnp.concatenate(answers)
    measured = ask_tell.select(
      measuring,
      pilots.tell(pilot, example, state.pilot, notes, rows),
      state.pilot._replace(num_steps=jnp.int32(total + 1)),
    )
    way_out = measured.point(example.image, measured.crossing()[1])
    adversarial = jnp.where(measuring, way_out, inner.adversarial)
    loss = ask_tell.losses(success, rows, example.label).mean()
    chosen = _chosen(choice, ~measuring)
    return InformedState(measured, inner, adversarial, chosen), info._replace(
      loss=jnp.where(measuring, loss, info.loss),
      success=info.success & ~measuring,
      finished=info.finished & ~measuring,
      learnt=info.learnt | measuring,
    )

  return Attack(init, step)
