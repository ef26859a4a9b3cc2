"""Closed calls for research code: attack an image or a batch, and judge what came of it."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
from jax import core
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax import host
from orjax.engine import programs
from orjax.engine import trials as trials_lib
from orjax.engine.trials import Trial
from orjax.threats import ThreatModel
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.types import Oracle


class Result(NamedTuple):
  """What an attack hands in: `adversarial` [H, W, C], and what it cost.

  `claimed` is the attack's own view through the oracle. It is no verdict: ask the
  undefended model about `adversarial`.
  """

  adversarial: jax.Array
  claimed: jax.Array
  loss: jax.Array
  num_steps: jax.Array
  num_queries: jax.Array


def attack_one(
  key: Key, attack: Attack, oracle: Oracle, image: jax.Array, label: jax.Array, *, max_queries: int
) -> Result:
  """Attacks one image: `attack_batch` with one image, keyed by `key` itself.

  Args:
    key: consumed; the same key gives the same bits.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    image: float32 [H, W, C] in [0, 1].
    label: the true class, or the target of a targeted objective.
    max_queries: never exceeded.

  Returns:
    A `Result`. Works under `jax.jit` and `jax.vmap`.
  """
  results = _attack(
    jax.tree.map(lambda k: k[None], key),
    attack,
    oracle,
    image[None],
    jnp.asarray(label)[None],
    max_queries,
  )
  return jax.tree.map(lambda x: x[0], results)


def attack_batch(
  key: Key,
  attack: Attack,
  oracle: Oracle,
  images: jax.Array,
  labels: jax.Array,
  *,
  max_queries: int,
) -> Result:
  """Attacks a batch of images in one call.

  Args:
    key: consumed; image i is attacked with `fold_in(key, i)`.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    images: float32 [N, H, W, C] in [0, 1].
    labels: int [N]: true classes, or the targets of a targeted objective.
    max_queries: per image, never exceeded.

  Returns:
    A `Result` with a leading axis N. Works under `jax.jit`: the same key gives the
    same bits.

  Raises:
    ValueError: shapes that do not fit, images that are not float32, or a budget below
      one step.

  Example:
    oracle = oracles.with_output_noise(oracles.from_predict(predict), stddev=0.01)
    attack = attacks.zoo(objectives.log_margin())
    result = orjax.attack_batch(key, attack, oracle, images, labels, max_queries=50_000)
  """
  images, labels = _batch(images, labels)
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(images)))
  return _attack(keys, attack, oracle, images, labels, max_queries)


class Evaluation(NamedTuple):
  """An attack on each of N images, and the verdicts; every field has a leading axis N.

  Attributes:
    adversarial: what was handed in [N, H, W, C].
    claimed: the attack saw a success through the defense, bool [N].
    clean_success: the undefended model is fooled, bool [N].
    defended_success_rate: share of fresh answers of the defended model that are [N].
    noise_error_rate: the same share for the clean image: the false-alarm base line [N].
    num_steps: int32 [N].
    num_queries: int32 [N].
    zero_gradients: share of the steps that found a gradient of exactly 0 [N].
    l2: of the perturbation, in units of the [0, 1] range [N].
    linf: likewise [N].
    finite: the model answered numbers throughout; if not, the rest says nothing, bool [N].
  """

  adversarial: jax.Array
  claimed: jax.Array
  clean_success: jax.Array
  defended_success_rate: jax.Array
  noise_error_rate: jax.Array
  num_steps: jax.Array
  num_queries: jax.Array
  zero_gradients: jax.Array
  l2: jax.Array
  linf: jax.Array
  finite: jax.Array


def evaluate(
  key: Key,
  attack: Attack,
  threat_model: ThreatModel,
  variables: Any,
  images: jax.Array,
  labels: jax.Array,
  *,
  objective: Objective,
  max_queries: int,
  num_draws: int = 100,
  setting: dict[str, Any] | None = None,
) -> Evaluation:
  """Attacks a batch of images behind a defense and judges every outcome.

  The trials are those of the engine for run 0 and images 0, 1, ...: with
  `key = jax.random.key(seed)` the same records.

  Args:
    key: consumed.
    attack: from `orjax.attacks`.
    threat_model: from `orjax.threats.threat_model`.
    variables: the model's parameters, for the functions of the threat model.
    images: float32 [N, H, W, C] in [0, 1].
    labels: int [N]: true classes, or the targets of a targeted objective.
    objective: whose `achieved` is the test of success.
    max_queries: per image, never exceeded.
    num_draws: fresh answers per image in the verdict.
    setting: the numbers of the defense, `defense.settings(strength)`; they may be traced.

  Returns:
    An `Evaluation`. Works under `jax.jit`.

  Raises:
    ValueError: as `attack_batch`, or the defense lacks a number of its setting.
    FloatingPointError: outside of `jax.jit`, the model answered NaN or infinity.

  Example:
    defense = defenses.output_noise()
    threats = threats.threat_model(lambda v: oracles.from_predict(predict, v), defense)
    evaluation = orjax.evaluate(
      jax.random.key(0), attacks.ql(objective), threats, variables, images, labels,
      objective=objective, max_queries=10_000, setting=defense.settings(1e-4))
  """
  images, labels = _batch(images, labels)
  setting = {name: jnp.asarray(x, jnp.float32) for name, x in (setting or {}).items()}
  try:
    asked = threat_model.asked(variables, setting)
    threat_model.defended(variables, setting)
  except KeyError as e:
    raise ValueError(f"the defense needs {e} in its setting: pass defense.settings(...)") from e
  _check(attack, asked, images, labels, max_queries)
  num_images = len(images)
  per_image = lambda x: jnp.broadcast_to(x[None], (num_images, *x.shape))
  inputs = programs.Inputs(
    images,
    labels,
    jnp.zeros(num_images, jnp.int32),
    jnp.arange(num_images, dtype=jnp.int32),
    jax.tree.map(per_image, setting),
  )
  work = programs.Work(attack, objective, threat_model, num_draws)
  on_host = programs.asks_host(threat_model, variables, setting, images[0])

  def whole(key, variables, inputs):
    trials = jax.vmap(lambda inputs: programs.start(work, key, inputs))(inputs)
    move = lambda trial: programs.step(work, key, variables, jnp.int32(max_queries), trial)
    trials = _finish(jax.vmap(move), trials, on_host)
    if on_host:
      judge = jax.vmap(lambda trial: programs.judge(work, key, variables, trial))
      return trials, host.staged(judge)(trials)
    everyone = jnp.ones(num_images, bool)
    return trials, programs.judge_wanted(work, key, variables, trials, everyone)

  trials, verdicts = (whole if on_host else jax.jit(whole))(key, variables, inputs)
  evaluation = _evaluation(trials, verdicts)
  traced = isinstance(evaluation.finite, core.Tracer)
  if not traced and not evaluation.finite.all():
    raise FloatingPointError(
      f"the model answered NaN or infinity for image {int(evaluation.finite.argmin())}: its "
      f"robustness cannot be measured; check its weights"
    )
  return evaluation


def _evaluation(trials, verdicts):
  adversarial = trials.state.adversarial
  perturbations = adversarial - trials.example.image
  num_steps = trials.num_steps
  return Evaluation(
    adversarial,
    trials.claimed,
    verdicts.clean_success,
    verdicts.defended_success_rate,
    verdicts.noise_error_rate,
    num_steps,
    trials.num_queries,
    trials.num_zero_gradients.astype(jnp.float32) / num_steps.astype(jnp.float32),
    jax.vmap(geometry.l2)(perturbations),
    jax.vmap(geometry.linf)(perturbations),
    verdicts.finite & ~trials.broken,
  )


def _batch(images, labels):
  images, labels = jnp.asarray(images), jnp.asarray(labels)
  if images.ndim != 4 or labels.shape != images.shape[:1]:
    raise ValueError(
      f"images must be [N, H, W, C] with labels [N], not {images.shape} with {labels.shape}"
    )
  return images, labels.astype(jnp.int32)


def _check(attack, oracle, images, labels, max_queries):
  """Raises ValueError for images or a budget that the attack cannot use."""
  if images.dtype != jnp.float32:
    raise ValueError(f"images must be float32 in [0, 1], not {images.dtype}: divide bytes by 255")
  first = Example(images[0], labels[0])
  trials_lib.check_budget(trials_lib.queries_per_step(attack, oracle, first), max_queries)


def _attack(keys, attack, oracle, images, labels, max_queries):
  labels = labels.astype(jnp.int32)
  _check(attack, oracle, images, labels, max_queries)
  zero = jnp.zeros((), jnp.int32)
  start = lambda key, example: trials_lib.start(attack, key, example, zero, zero, None)
  # Compiled: one by one, the operations of a start may round differently than together.
  trials = jax.jit(jax.vmap(start))(keys, Example(images, labels))

  def step_all(trials):
    step = lambda key, trial: trials_lib.step(attack, oracle, key, trial, max_queries)
    return jax.vmap(step)(keys, trials)

  on_host = host.asks(oracle.query, jax.random.key(0), images[:1])
  trials = _finish(step_all, trials, on_host)
  return Result(
    trials.state.adversarial, trials.claimed, trials.loss, trials.num_steps, trials.num_queries
  )


def _finish(step_all: Callable[[Trial], Trial], trials: Trial, on_host: bool) -> Trial:
  """Moves trials until all of them are finished."""
  if not on_host:
    return jax.lax.while_loop(lambda trials: ~trials.finished.all(), step_all, trials)
  if isinstance(trials.finished, core.Tracer) or isinstance(trials.example.image, core.Tracer):
    raise ValueError(
      "a model outside JAX cannot be asked inside jit or vmap: call the attack outside"
    )
  staged_step = host.staged(step_all)
  while not (finished := np.asarray(trials.finished)).all():
    trials = staged_step(trials, wanted=~finished)
  return trials
