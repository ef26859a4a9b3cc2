"""The device side of the engine: what moves slots of trials, compiled once.

Each program is vmapped over the slots of a device and shard_mapped over devices, with
the model's variables replicated and no collective anywhere: every device runs its own
loop. Knows no files, no queue and no clock; `runner` has those.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np

from orjax import host
from orjax.engine import trials as trials_lib
from orjax.engine.trials import Trial
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.verification import Verdict
from orjax.verification import verify

_ROWS_OF_VERDICTS = 2048  # that a random network sees at a time: enough to be busy


class Inputs(NamedTuple):
  """What starts a trial, with a leading axis of slots: see `trials.Trial`."""

  image: Any
  label: Any
  run: Any
  index: Any
  setting: Any


class Work(NamedTuple):
  """What is done to every trial of a run: who attacks whom, and how it is judged."""

  attack: Attack
  objective: Objective
  threat_model: ThreatModel
  num_draws: int


class Programs(NamedTuple):
  """Compiled programs over slots; `make` says what they do."""

  refill: Callable
  advance: Callable
  verify: Callable
  endpoints: tuple[host.Endpoint, ...]


def start(work: Work, seed_key: Key, inputs: Inputs) -> Trial:
  """One trial that has taken no step."""
  key = trials_lib.trial_key(seed_key, inputs.run, inputs.index)
  example = Example(inputs.image, inputs.label)
  return trials_lib.start(work.attack, key, example, inputs.run, inputs.index, inputs.setting)


def step(work: Work, seed_key: Key, variables: Any, max_queries: jax.Array, trial: Trial) -> Trial:
  """One trial a step further."""
  key = trials_lib.trial_key(seed_key, trial.run, trial.index)
  oracle = work.threat_model.asked(variables, trial.setting)
  return trials_lib.step(work.attack, oracle, key, trial, max_queries)


def judge(work: Work, seed_key: Key, variables: Any, trial: Trial) -> Verdict:
  """The verdict on what one trial would hand in."""
  key = trials_lib.trial_key(seed_key, trial.run, trial.index)
  return verify(
    trials_lib.verification_key(key),
    work.threat_model.clean(variables),
    work.threat_model.defended(variables, trial.setting),
    work.objective,
    trial.example,
    trial.state.adversarial,
    work.num_draws,
  )


def judge_wanted(
  work: Work, seed_key: Key, variables: Any, trials: Trial, wanted: jax.Array
) -> Verdict:
  """Verdicts on the `wanted` trials [S], a few at a time; of others they are zeros.

  Where the network itself is random, each verdict costs hundreds of forward passes.
  """
  num_trials = len(wanted)
  at_once = max(1, min(num_trials, _ROWS_OF_VERDICTS // (2 * work.num_draws + 2)))
  judge_some = jax.vmap(functools.partial(judge, work, seed_key, variables))
  # The wanted ones first; behind them indices that belong to no trial.
  order = jnp.argsort(~wanted, stable=True).astype(jnp.int32)
  order = jnp.where(wanted[order], order, num_trials)
  order = jnp.pad(order, (0, -num_trials % at_once), constant_values=num_trials)
  some = jax.eval_shape(judge_some, jax.tree.map(lambda x: x[:at_once], trials))
  verdicts = jax.tree.map(lambda x: jnp.zeros((num_trials, *x.shape[1:]), x.dtype), some)

  def judge_next(carry):
    begin, verdicts = carry
    chosen = jax.lax.dynamic_slice(order, (begin,), (at_once,))
    some = judge_some(jax.tree.map(lambda x: x.at[chosen].get(mode="clip"), trials))
    place = lambda whole, part: whole.at[chosen].set(part, mode="drop")
    return begin + at_once, jax.tree.map(place, verdicts, some)

  left = lambda carry: carry[0] < wanted.sum(dtype=jnp.int32)
  return jax.lax.while_loop(left, judge_next, (jnp.int32(0), verdicts))[1]


def endpoints(
  threat_model: ThreatModel, variables: Any, setting: Any, image: Any
) -> tuple[host.Endpoint, ...]:
  """Models outside JAX that somebody asks."""
  oracles = (
    threat_model.clean(variables),
    threat_model.defended(variables, setting),
    threat_model.asked(variables, setting),
  )
  found = (host.endpoints(oracle.query, jax.random.key(0), image[None]) for oracle in oracles)
  return tuple(dict.fromkeys(endpoint for some in found for endpoint in some))


def asks_host(threat_model: ThreatModel, variables: Any, setting: Any, image: Any) -> bool:
  """Whether anybody asks a model outside JAX."""
  return bool(endpoints(threat_model, variables, setting, image))


def make(
  work: Work, mesh: jax.sharding.Mesh, endpoints: tuple[host.Endpoint, ...] = ()
) -> Programs:
  """Makes the programs of a run over slots sharded along the one axis of `mesh`.

  With `endpoints` the threat model asks models outside JAX; then `mesh` has one device, and
  what is compiled are the pieces between the questions.

  `refill(seed, trials, inputs, places)` puts a trial of each of `inputs` into the slot of
  that number, nowhere for a number that no slot has; `advance(seed, variables, trials,
  max_queries, chunk, max_idle)` moves all by at most `chunk` steps and comes back early
  when more than `max_idle` slots of a device are finished, or after one step with
  `endpoints`, with the number of steps each device did; `verify(seed, variables, trials,
  wanted)` judges the wanted slots.
  """

  def step_all(seed, variables, max_queries, trials):
    move = functools.partial(step, work, jax.random.key(seed), variables, max_queries)
    return jax.vmap(move)(trials)

  def refill(seed, trials, inputs, places):
    started = jax.vmap(functools.partial(start, work, jax.random.key(seed)))(inputs)
    place = lambda old, new: old.at[places].set(new, mode="drop")
    return jax.tree.map(place, trials, started)

  if endpoints:
    return _staged(work, endpoints, step_all, refill)
  return _compiled(work, mesh, step_all, refill)


def _compiled(work, mesh, step_all, refill):
  """Programs in which every device runs its own loop over its own slots."""

  def refill_own(seed, trials, inputs, places):
    num_slots = len(trials.finished)
    own = places - jax.lax.axis_index("slots") * num_slots
    # A negative index would count from the end.
    own = jnp.where((own >= 0) & (own < num_slots), own, num_slots)
    return refill(seed, trials, inputs, own)

  def advance(seed, variables, trials, max_queries, chunk, max_idle):
    def going(carry):
      num_done, trials = carry
      num_idle = trials.finished.sum(dtype=jnp.int32)
      return (num_done < chunk) & (num_idle <= max_idle) & ~trials.finished.all()

    def body(carry):
      num_done, trials = carry
      return num_done + 1, step_all(seed, variables, max_queries, trials)

    num_done, trials = jax.lax.while_loop(going, body, (jnp.int32(0), trials))
    return trials, num_done[None]

  def verify_own(seed, variables, trials, wanted):
    return judge_wanted(work, jax.random.key(seed), variables, trials, wanted)

  def sharded(function, *in_specs):
    return jax.jit(
      jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P("slots"), check_vma=False)
    )

  slots, everywhere = P("slots"), P()
  return Programs(
    sharded(refill_own, everywhere, slots, everywhere, everywhere),
    sharded(advance, everywhere, everywhere, slots, everywhere, everywhere, everywhere),
    sharded(verify_own, everywhere, everywhere, slots, slots),
    endpoints=(),
  )


def _staged(work, endpoints, step_all, refill):
  """Programs that stop at every question to a model outside JAX."""
  staged_step = host.staged(step_all)

  @host.staged
  def judge_all(seed, variables, trials):
    return jax.vmap(functools.partial(judge, work, jax.random.key(seed), variables))(trials)

  def advance(seed, variables, trials, max_queries, chunk, max_idle):
    del chunk, max_idle  # a look after every step: what was asked for it must not be lost
    going = ~np.asarray(trials.finished)
    if not going.any():
      return trials, np.array([0])
    return staged_step(seed, variables, max_queries, trials, wanted=going), np.array([1])

  def verify_wanted(seed, variables, trials, wanted):
    return judge_all(seed, variables, trials, wanted=wanted)

  return Programs(jax.jit(refill), advance, verify_wanted, endpoints)


def idle_trials(work: Work, seed: np.uint32, inputs: Inputs, num_slots: int) -> Trial:
  """Slots that hold nothing yet: finished trials of zeros, shaped as that of `inputs`."""
  shapes = jax.eval_shape(lambda: start(work, jax.random.key(seed), inputs))
  empty = jax.tree.map(lambda x: np.zeros((num_slots, *x.shape), x.dtype), shapes)
  return empty._replace(finished=np.ones(num_slots, bool))
