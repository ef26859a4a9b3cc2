"""Queries per second of attacks through the engine, for the benchmark.

Each beside the bare forward pass of the same network at its best batch size, and at as many rows
a call as the attack sends, in the same process.
"""

from collections.abc import Sequence
import functools
import importlib.util
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness.speed import training
from orjax import attacks
from orjax import defenses
from orjax import engine
from orjax import estimators
from orjax import models
from orjax import objectives
from orjax import oracles
from orjax.threats import threat_model
from orjax.types import Attack

BATCH_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
NUM_SWEPT = 200  # trials of unequal length, of which the useful steps are counted
_OBJECTIVE = objectives.log_margin()
_NOWHERE = 1e-30  # a ball that no attack from afar comes back to


class Endless(NamedTuple):
  """An attack that never gives up, and answers averaged per row."""

  name: str
  attack: Attack
  num_samples: int = 1


def _by_chance(one_in):
  """Successes that change from place to place as if by chance, of one answer in so many."""
  return _OBJECTIVE._replace(achieved=lambda row, label: (row[0] * 2**22) % one_in < 1)


def endless(image_shape: tuple[int, ...]) -> list[Endless]:
  """The attacks that are measured, on images [H, W, C], as far as they can be.

  Square's l2 form needs more pixels than digits have, the evolution strategy evosax.
  """
  half = min(128, math.prod(image_shape) // 2)
  shared = {"max_steps": 10**9, "binary_search_steps": 1, "check_every": None}
  zoo = attacks.zoo(_OBJECTIVE, num_coordinates=half, **shared)
  nes = attacks.carlini_wagner(_OBJECTIVE, estimators.nes(num_pairs=half), **shared)
  never = _OBJECTIVE._replace(achieved=lambda row, label: jnp.zeros((), bool))
  chance = _by_chance(2)  # the boundary is everywhere
  found = [
    Endless("zoo", zoo),
    Endless("zoo, averaging 100", zoo, 100),
    Endless(
      "informed_zoo",
      attacks.informed_zoo(chance, num_coordinates=24, confirmations=16, max_steps=10**6),
    ),
    Endless("nes", nes),
    Endless(
      "informed_nes", attacks.informed_nes(chance, num_pairs=24, confirmations=16, max_steps=10**6)
    ),
    Endless("ql", attacks.ql(never)),
    Endless("bandits", attacks.bandits(never, prior_size=8)),
    Endless("spsa", attacks.spsa(never, num_pairs=half, num_steps=10**9)),
    Endless("label_only", attacks.label_only(chance, radius=_NOWHERE)),
    Endless("partial_information", attacks.partial_information(chance, radius=_NOWHERE)),
    Endless("square", attacks.square(never)),
    Endless("square, asked again", attacks.square(never, comparison="asked_again", lead=4)),
    Endless("square, sequential", attacks.square(never, comparison="sequential", lead=4)),
    Endless("sign_hunter", attacks.sign_hunter(never)),
    Endless("sign_hunter, sequential", attacks.sign_hunter(never, comparison="sequential", lead=4)),
    Endless("rays", attacks.rays(never)),
    Endless("rays, voting", attacks.rays(never, lead=4)),
    Endless("hop_skip_jump", attacks.hop_skip_jump(chance, num_iterations=10**6)),
    Endless("pop_skip_jump", attacks.pop_skip_jump(chance, num_iterations=10**6)),
  ]
  if min(image_shape[:2]) >= 10:
    found.append(Endless("square, l2", attacks.square(never, norm="l2", radius=3.0)))
  if importlib.util.find_spec("evosax"):
    found.append(Endless("evolution", attacks.evolution(never)))
  return found


def _predict(classifier):
  """What is measured bare and attacked: `predict(variables, images)`."""
  return lambda variables, images: jax.nn.softmax(classifier.apply(variables, images))


def _threats(classifier, num_samples=1):
  predict = _predict(classifier)
  return threat_model(
    lambda variables: oracles.from_predict(predict, variables),
    defenses.output_noise(),
    attacker=functools.partial(oracles.averaged, num_samples=num_samples),
  )


def _statistics(attack, threats, variables, tasks, num_queries, plan) -> engine.Statistics:
  """Of a run to its end."""
  statistics = engine.Statistics()
  for _ in engine.run(
    attack,
    _OBJECTIVE,
    threats,
    variables,
    tasks,
    seed=0,
    max_queries=num_queries,
    plan=plan,
    statistics=statistics,
  ):
    pass
  return statistics


def measure(
  classifier: models.Classifier,
  variables,
  images: np.ndarray,
  measured: Sequence[Endless],
  slots_per_device: int | None,
  rounds: int,
  seconds: float,
) -> tuple[int, list[dict]]:
  """The best batch size of the forward pass; for each attack its numbers, as medians.

  Args:
    classifier: the network.
    variables: its parameters.
    images: [max(BATCH_SIZES), H, W, C]; random ones will do.
    measured: of `endless`.
    slots_per_device: trials at a time; None lets the runner choose.
    rounds: alternating measurements of the forward pass and the attack.
    seconds: length of one.
  """
  forward = jax.jit(_predict(classifier))

  def rate(size, length):
    shown = jnp.asarray(np.resize(images, (size, *images.shape[1:])))
    with oracles.full_precision():
      return training.rate(forward, (variables, shown), size, length)

  by_size = {size: rate(size, 0.5) for size in BATCH_SIZES}
  best = max(by_size, key=lambda size: by_size[size])
  # Trials of one length fill all slots: the rate of the loop, without a tail.
  trials = [engine.Task({}, images[i], 0, 0, i, {"stddev": np.float32(1e-2)}) for i in range(1024)]
  report = []
  for name, attack, num_samples in measured:
    threats = _threats(classifier, num_samples)
    rows_per_step, _ = engine.rows_and_queries(attack, threats, variables, trials[0])
    slots = slots_per_device or engine.choose_slots(attack, threats, variables, trials)
    tasks = trials[: slots * jax.local_device_count()]
    budget = (
      num_samples
      * rows_per_step
      * max(8, int(seconds * by_size[best] / rows_per_step / len(tasks)))
    )
    rows_per_call = slots * rows_per_step
    rates = []
    for _ in range(rounds):  # alternating, as the machine's speed drifts
      bare, as_many = rate(best, seconds), rate(rows_per_call, seconds)
      found = _statistics(attack, threats, variables, tasks, budget, engine.Plan(slots, chunk=4))
      rates.append((bare, as_many, found.queries_per_second / num_samples))
    bare, as_many, rows = np.median(rates, axis=0).tolist()
    ratios = [ours / bare for bare, _, ours in rates]
    report.append(
      {
        "attack": name,
        "forward_rows_per_s": bare,
        "rows_per_call": rows_per_call,
        "forward_rows_per_s_of_as_many": as_many,
        "rows_per_s": rows,
        "queries_per_s": rows * num_samples,
        "slots_per_device": slots,
        "ratio": float(np.median(ratios)),
        "ratios": ratios,
        "ratios_of_as_many": [ours / as_many for _, as_many, ours in rates],
      }
    )
  return best, report


def useful_shares(
  classifier: models.Classifier, variables, images: np.ndarray
) -> dict[str, tuple[float, float]]:
  """Useful over executed steps of sweeps of `NUM_SWEPT` trials of unequal length.

  Of the whole sweep, and of what was executed while trials waited for a slot. ZOO gives up
  where it makes no progress; an answer in 256 is a success of Square's, as if by chance.
  """
  zoo = attacks.zoo(
    _OBJECTIVE, num_coordinates=8, binary_search_steps=3, max_steps=40, check_every=4
  )
  threats = _threats(classifier)
  tasks = [
    engine.Task({}, images[i], 0, 0, i, {"stddev": np.float32(10.0 ** -(i % 5))})
    for i in range(NUM_SWEPT)
  ]
  shares = {}
  for name, attack in (("zoo", zoo), ("square", attacks.square(_by_chance(256)))):
    plan = engine.Plan(engine.choose_slots(attack, threats, variables, tasks), chunk=10)
    found = _statistics(attack, threats, variables, tasks, 10**6, plan)
    shares[name] = found.useful_share, found.used_share
  return shares
