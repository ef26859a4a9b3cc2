"""The device side of the engine: what moves slots of trials, compiled once.

Each program is vmapped over the slots of a device and shard_mapped over devices, with
the model's variables replicated and no collective anywhere: every device runs its own
loop. Knows no files, no queue and no clock; `runner` has those.
"""

from collections.abc import Callable
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np

from orjax import host
from orjax import verification
from orjax.engine import trials as trials_lib
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective


class Halted(Exception):
  """A step failed outside JAX; `trials` are as before it, `__cause__` says why."""

  def __init__(self, trials: trials_lib.Trial):
    super().__init__("a step failed outside JAX")
    self.trials = trials


_SECONDS_ON_HOST = 5.0  # between two looks, where a model outside JAX may be slow


class Inputs(NamedTuple):
  """What starts a trial, with a leading axis of slots: see `trials.Trial`."""

  image: Any
  label: Any
  run: Any
  index: Any
  setting: Any


class Programs(NamedTuple):
  """Compiled programs over slots; `make` says what they do."""

  start: Callable
  refill: Callable
  advance: Callable
  verify: Callable


def make(
  attack: Attack,
  objective: Objective,
  threat_model: ThreatModel,
  num_draws: int,
  mesh: jax.sharding.Mesh,
  *,
  on_host: bool = False,
) -> Programs:
  """Makes the programs of a run over slots sharded along the one axis of `mesh`.

  With `on_host` the threat model asks models outside JAX; then `mesh` has one device, and
  what is compiled are the pieces between the questions.

  `start(seed, inputs)` starts all slots; `refill(seed, trials, inputs, fresh)` starts the
  `fresh` ones; `advance(seed, variables, trials, max_queries, chunk, max_idle)` moves all
  by at most `chunk` steps and comes back early when more than `max_idle` slots of a
  device are finished, with the number of steps each device did; `verify(seed, variables,
  trials, wanted)` judges slots, at least the wanted ones.
  """

  def start(seed, inputs):
    def one(inputs):
      key = trials_lib.trial_key(jax.random.key(seed), inputs.run, inputs.index)
      return trials_lib.start(
        attack, key, Example(inputs.image, inputs.label), inputs.run, inputs.index, inputs.setting
      )

    return jax.vmap(one)(inputs)

  def refill(seed, trials, inputs, fresh):
    started = start(seed, inputs)
    keep = lambda old, new: jnp.where(fresh.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return jax.tree.map(keep, trials, started)

  def step(seed, variables, max_queries, trial):
    key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
    oracle = threat_model.asked(variables, trial.setting)
    return trials_lib.step(attack, oracle, key, trial, max_queries)

  def step_all(seed, variables, max_queries, trials):
    return jax.vmap(lambda trial: step(seed, variables, max_queries, trial))(trials)

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

  def judge(seed, variables, trials):
    def one(trial):
      key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
      return verification.verify(
        trials_lib.verification_key(key),
        threat_model.clean(variables),
        threat_model.defended(variables, trial.setting),
        objective,
        trial.example,
        trial.state.adversarial,
        num_draws,
      )

    return jax.vmap(one)(trials)

  def sharded(function, *in_specs):
    # No collective anywhere: each device runs its own loop over its own slots.
    return jax.jit(
      jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=P("slots"), check_vma=False)
    )

  if on_host:
    staged_step, staged_judge = host.staged(step_all), host.staged(judge)

    def advance_on_host(seed, variables, trials, max_queries, chunk, max_idle):
      deadline = time.monotonic() + _SECONDS_ON_HOST
      for num_done in range(chunk):
        finished = np.asarray(trials.finished)
        if (
          finished.all() or finished.sum() > max_idle or (num_done and time.monotonic() > deadline)
        ):
          return trials, np.array([num_done])
        try:
          trials = staged_step(seed, variables, max_queries, trials, wanted=~finished)
        except BaseException as e:  # an interrupt too: what was asked is worth keeping
          raise Halted(trials) from e
      return trials, np.array([chunk])

    return Programs(
      start,
      jax.jit(refill),
      advance_on_host,
      lambda seed, variables, trials, wanted: staged_judge(seed, variables, trials, wanted=wanted),
    )

  slots, everywhere = P("slots"), P()
  compiled_judge = sharded(judge, everywhere, everywhere, slots)
  return Programs(
    start,
    sharded(refill, everywhere, slots, slots, slots),
    sharded(advance, everywhere, everywhere, slots, everywhere, everywhere, everywhere),
    lambda seed, variables, trials, wanted: compiled_judge(seed, variables, trials),
  )


def idle_trials(programs: Programs, seed: np.uint32, inputs: Inputs) -> trials_lib.Trial:
  """Slots of the right shapes that hold nothing yet: finished trials of zeros."""
  shapes = jax.eval_shape(programs.start, seed, inputs)
  empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return empty._replace(finished=np.ones(len(inputs.run), bool))
