"""The device side of the engine: what moves slots of trials, compiled once.

Each program is vmapped over the slots of a device and shard_mapped over devices, with
the model's variables replicated and no collective anywhere: every device runs its own
loop. Knows no files, no queue and no clock; `runner` has those.
"""

from typing import Any, Callable, NamedTuple

import jax
from jax.sharding import PartitionSpec as P
import jax.numpy as jnp
import numpy as np

from orjax import trials as trials_lib
from orjax import verification
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Objective
from orjax.types import Oracle


class ThreatModel(NamedTuple):
  """Who answers whom; each makes an `Oracle` inside the traced program.

  Attributes:
    clean: `clean(variables)`: the undefended model, asked by the verification only.
    defended: `defended(variables, setting)`: the server.
    asked: `asked(variables, setting)`: what the attacker makes of the server.
  """

  clean: Callable[[Any], Oracle]
  defended: Callable[[Any, Any], Oracle]
  asked: Callable[[Any, Any], Oracle]


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


def make(attack: Attack, objective: Objective, threat_model: ThreatModel,
         num_draws: int, mesh: jax.sharding.Mesh) -> Programs:
  """Makes the programs of a run over slots sharded along the one axis of `mesh`.

  `start(seed, inputs)` starts all slots; `refill(seed, trials, inputs, fresh)` starts the
  `fresh` ones; `advance(seed, variables, trials, max_queries, chunk, max_idle)` moves all
  by at most `chunk` steps and comes back early when more than `max_idle` slots of a
  device are finished, with the number of steps each device did; `verify(seed, variables,
  trials)` judges all slots.
  """

  def start(seed, inputs):
    def one(inputs):
      key = trials_lib.trial_key(jax.random.key(seed), inputs.run, inputs.index)
      return trials_lib.start(attack, key, Example(inputs.image, inputs.label),
                              inputs.run, inputs.index, inputs.setting)
    return jax.vmap(one)(inputs)

  def refill(seed, trials, inputs, fresh):
    started = start(seed, inputs)
    keep = lambda old, new: jnp.where(
        fresh.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return jax.tree.map(keep, trials, started)

  def step(seed, variables, max_queries, trial):
    key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
    oracle = threat_model.asked(variables, trial.setting)
    return trials_lib.step(attack, oracle, key, trial, max_queries)

  def advance(seed, variables, trials, max_queries, chunk, max_idle):
    def going(carry):
      num_done, trials = carry
      num_idle = trials.finished.sum()
      return (num_done < chunk) & (num_idle <= max_idle) & ~trials.finished.all()

    def body(carry):
      num_done, trials = carry
      moved = jax.vmap(lambda trial: step(seed, variables, max_queries, trial))(trials)
      return num_done + 1, moved

    num_done, trials = jax.lax.while_loop(going, body, (jnp.int32(0), trials))
    return trials, num_done[None]

  def verify(seed, variables, trials):
    def one(trial):
      key = trials_lib.trial_key(jax.random.key(seed), trial.run, trial.index)
      return verification.verify(
          trials_lib.verification_key(key), threat_model.clean(variables),
          threat_model.defended(variables, trial.setting), objective, trial.example,
          trial.state.adversarial, num_draws)
    return jax.vmap(one)(trials)

  def sharded(function, *in_specs):
    # No collective anywhere: each device runs its own loop over its own slots.
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs,
                                 out_specs=P("slots"), check_vma=False))

  slots, everywhere = P("slots"), P()
  return Programs(
      start,
      sharded(refill, everywhere, slots, slots, slots),
      sharded(advance, everywhere, everywhere, slots, everywhere, everywhere, everywhere),
      sharded(verify, everywhere, everywhere, slots))


def idle_trials(programs: Programs, seed: np.uint32, inputs: Inputs) -> trials_lib.Trial:
  """Slots of the right shapes that hold nothing yet: finished trials of zeros."""
  shapes = jax.eval_shape(programs.start, seed, inputs)
  empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return empty._replace(finished=np.ones(len(inputs.run), bool))
