"""Closed calls for research code: attack an image or a batch, and judge what came of it."""

from collections.abc import Callable
import contextlib
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import border
from orjax import compiled
from orjax import factories
from orjax import geometry
from orjax import host
from orjax import progress
from orjax.engine import programs
from orjax.engine import trials as trials_lib
from orjax.engine.trials import Trial
from orjax.host.jax_internals import is_traced
from orjax.threats import ThreatModel
from orjax.threats import traced
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.types import Oracle


class Result(NamedTuple):
  """What an attack hands in: `adversarial` [H, W, C], and what it cost.

  `claimed` is the attack's own view through the oracle. It is no verdict: ask the
  undefended model about `adversarial`. Where it is `broken`, the model answered no numbers,
  and nothing is claimed.
  """

  adversarial: jax.Array
  claimed: jax.Array
  loss: jax.Array
  num_steps: jax.Array
  num_queries: jax.Array
  broken: jax.Array


class Interrupted(ConnectionError, ValueError):
  """A model outside JAX does not answer any more; what was done until then is in here.

  Attributes:
    result: a `Result` with a leading axis N, as far as the attacks got.
    finished: which of them were done, bool [N].
  """

  def __init__(self, message: str, result: Result, finished: np.ndarray):
    super().__init__(message)
    self.result, self.finished = result, finished


def attack_one(
  key: Key,
  attack: Attack,
  oracle: Oracle,
  image: jax.Array,
  label: jax.Array,
  *,
  max_queries: int,
  num_channels: int | None = None,
) -> Result:
  """Attacks one image: `attack_batch` with one image, keyed by `key` itself.

  Args:
    key: consumed; the same key gives the same bits.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    image: float32 [H, W, C] in [0, 1].
    label: the true class, or the target of a targeted objective.
    max_queries: never exceeded.
    num_channels: C where it is not 1, 3 or 4.

  Returns:
    A `Result`. Works under `jax.jit` and `jax.vmap`.

  Raises:
    ValueError: as `attack_batch`.
  """
  keys = jax.tree.map(lambda k: k[None], border.seed_key(key))
  one = lambda x: (x if is_traced(x) else jnp.asarray(x))[None]
  images = border.images(one(image), num_channels=num_channels)
  results = _attack(keys, attack, oracle, images, one(label), max_queries)
  return jax.tree.map(lambda x: x[0], results)


def attack_batch(
  key: Key,
  attack: Attack,
  oracle: Oracle,
  images: jax.Array,
  labels: jax.Array,
  *,
  max_queries: int,
  num_channels: int | None = None,
) -> Result:
  """Attacks a batch of images in one call.

  A second call with an equal attack, the same oracle and the same shapes compiles nothing.

  Args:
    key: consumed; image i is attacked with `fold_in(key, i)`.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    images: float32 [N, H, W, C] in [0, 1].
    labels: int [N]: true classes, or the targets of a targeted objective.
    max_queries: per image, never exceeded; counted at the oracle.
    num_channels: C where it is not 1, 3 or 4.

  Returns:
    A `Result` with a leading axis N. Works under `jax.jit`: the same key gives the
    same bits.

  Raises:
    ValueError: images, labels, answers or a budget that cannot be meant: see `border`; or an
      attack that reports fewer queries than it asks.
    Interrupted: a model outside JAX does not answer any more; what was done is in the error.

  Example:
    oracle = oracles.with_output_noise(oracles.from_predict(predict), stddev=0.01)
    attack = attacks.zoo(objectives.log_margin())
    result = orjax.attack_batch(key, attack, oracle, images, labels, max_queries=50_000)
  """
  images = border.images(images, num_channels=num_channels)
  keys = _keys(border.seed_key(key), len(images))
  return _attack(keys, attack, oracle, images, labels, max_queries)


class Evaluation(NamedTuple):
  """An attack on each of N images, and the verdicts; every field has a leading axis N.

  Attributes:
    adversarial: what was handed in [N, H, W, C].
    claimed: the attack saw a success through the defense, bool [N].
    clean_success: the undefended model is fooled, bool [N].
    defended_success_rate: share of fresh answers of the defended model that are [N];
      `theory.resubmission_rate` of it is resubmit@n: that one of n submissions is.
    noise_error_rate: the same share for the clean image: the false-alarm base line [N].
    num_steps: int32 [N].
    num_queries: int32 [N].
    zero_gradients: share of the steps that learnt nothing from the answers [N].
    l2: of the perturbation, in units of the [0, 1] range [N].
    linf: likewise [N].
    finite: the model answered numbers throughout; if not, the rest says nothing, bool [N].
    chosen: what the attack chose by what it was told, by name [N]; {} of most: see `Attack`.
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
  chosen: dict[str, jax.Array]


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
  num_channels: int | None = None,
) -> Evaluation:
  """Attacks a batch of images behind a defense and judges every outcome.

  The trials are those of the engine for run 0 and images 0, 1, ...: with
  `key = jax.random.key(seed)` the same records. A second call with equal functions and the
  same shapes compiles nothing.

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
    num_channels: C where it is not 1, 3 or 4.

  Returns:
    An `Evaluation`. Works under `jax.jit`.

  Raises:
    ValueError: as `attack_batch`; the defense lacks a number of its setting; or, outside of
      `jax.jit`, the undefended model or the defense is no function of image and key: see
      `border.check_function`.
    Interrupted: as `attack_batch`.
    FloatingPointError: outside of `jax.jit`, the model answered NaN or infinity.

  Example:
    defense = defenses.output_noise()
    threats = threats.threat_model(lambda v: oracles.from_predict(predict, v), defense)
    evaluation = orjax.evaluate(
      jax.random.key(0), attacks.ql(objective), threats, variables, images, labels,
      objective=objective, max_queries=10_000, setting=defense.settings(1e-4))
  """
  images = border.images(images, num_channels=num_channels)
  factories.check_number("num_draws", num_draws, factories.LIMITS["num_draws"])
  setting = traced(setting or {})
  try:
    asked = threat_model.asked(variables, setting)
    threat_model.defended(variables, setting)
  except KeyError as e:
    raise ValueError(f"the defense needs {e} in its setting: pass defense.settings(...)") from e
  labels = border.labels(labels, len(images), border.num_classes(asked, images[0]))
  work = programs.Work(attack, objective, threat_model, num_draws)
  inputs = _inputs(images, labels, setting)
  arguments = (border.seed_key(key), variables, jnp.int32(0), inputs)
  made = compiled.kept(_evaluating, (work,), *arguments) or _evaluating(work, *arguments)
  trials_lib.check_budget(made.queries_per_step, max_queries)
  trials, verdicts = made.call(key, variables, jnp.int32(max_queries), inputs)
  evaluation = _evaluation(trials, verdicts)
  if not is_traced(evaluation.finite) and not evaluation.finite.all():
    raise FloatingPointError(
      f"the model answered NaN or infinity for image {int(evaluation.finite.argmin())}: its "
      f"robustness cannot be measured; check its weights"
    )
  return evaluation


class _Made(NamedTuple):
  """What a closed call keeps for the next one."""

  queries_per_step: int
  call: Callable


def _evaluating(work, key, variables, max_queries, inputs):
  """`call(key, variables, max_queries, inputs) -> trials, verdicts`."""
  first = jax.tree.map(lambda x: x[0], inputs)
  oracle = work.threat_model.asked(variables, first.setting)
  cost = trials_lib.queries_per_step(work.attack, oracle, Example(first.image, first.label))
  on_host = programs.asks_host(work.threat_model, variables, first.setting, first.image)
  if not on_host and not is_traced(*jax.tree.leaves((variables, inputs))):
    border.check_function(work.threat_model.clean(variables), inputs.image)
    defended = work.threat_model.defended(variables, first.setting)
    border.check_function(defended._replace(random=True), inputs.image, "the defended model")
  begin = lambda key, inputs: jax.vmap(lambda x: programs.start(work, key, x))(inputs)

  def step_all(key, variables, max_queries, trials):
    move = lambda trial: programs.step(work, key, variables, max_queries, trial)
    return jax.vmap(move)(trials)

  def whole(key, variables, max_queries, inputs):
    trials = _until_finished(
      lambda trials: step_all(key, variables, max_queries, trials), begin(key, inputs)
    )
    everyone = jnp.ones(len(inputs.image), bool)
    return trials, programs.judge_wanted(work, key, variables, trials, everyone)

  if not on_host:
    arguments = (key, variables, max_queries, inputs)
    return _Made(cost, whole if is_traced(*jax.tree.leaves(arguments)) else jax.jit(whole))
  begin, staged_step = jax.jit(begin), host.staged(step_all)

  @host.staged
  def judge_all(key, variables, trials):
    return jax.vmap(lambda trial: programs.judge(work, key, variables, trial))(trials)

  def asking(key, variables, max_queries, inputs):
    step = lambda trials, wanted: staged_step(key, variables, max_queries, trials, wanted=wanted)
    trials = _finish_on_host(step, begin(key, inputs))
    with _partial(lambda: trials):
      return trials, judge_all(key, variables, trials)

  return _Made(cost, asking)


def _inputs(images, labels, setting):
  num_images = len(images)
  per_image = lambda x: jnp.broadcast_to(x[None], (num_images, *x.shape))
  return programs.Inputs(
    images,
    labels,
    jnp.zeros(num_images, jnp.int32),
    jnp.arange(num_images, dtype=jnp.int32),
    jax.tree.map(per_image, setting),
  )


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
    trials_lib.chosen(trials.state),
  )


def _keys(key, num_images):
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_images))


def _attack(keys, attack, oracle, images, labels, max_queries):
  labels = border.labels(labels, len(images), border.num_classes(oracle, images[0]))
  arguments = (keys, jnp.int32(0), Example(images, labels))
  statics = (attack, oracle)
  made = compiled.kept(_attacking, statics, *arguments) or _attacking(*statics, *arguments)
  trials_lib.check_budget(made.queries_per_step, max_queries)
  return _result(made.call(keys, jnp.int32(max_queries), Example(images, labels)))


def _result(trials):
  return Result(
    trials.state.adversarial,
    trials.claimed,
    trials.loss,
    trials.num_steps,
    trials.num_queries,
    trials.broken,
  )


def _attacking(attack, oracle, keys, max_queries, examples):
  """`call(keys, max_queries, examples) -> trials`."""
  first = jax.tree.map(lambda x: x[0], examples)
  cost = trials_lib.queries_per_step(attack, oracle, first)
  zero = jnp.zeros((), jnp.int32)

  def begin(keys, examples):
    start = lambda key, example: trials_lib.start(attack, key, example, zero, zero, None)
    return jax.vmap(start)(keys, examples)

  def step_all(keys, max_queries, trials):
    step = lambda key, trial: trials_lib.step(attack, oracle, key, trial, max_queries)
    return jax.vmap(step)(keys, trials)

  def whole(keys, max_queries, examples):
    step = lambda trials: step_all(keys, max_queries, trials)
    return _until_finished(step, begin(keys, examples))

  arguments = (keys, max_queries, examples)
  if not host.asks(oracle.query, jax.random.key(0), first.image[None]):
    traced = is_traced(*jax.tree.leaves(arguments))
    return _Made(cost, whole if traced else compiled.whole(whole, *arguments))
  begin, staged_step = jax.jit(begin), host.staged(step_all)

  def asking(keys, max_queries, examples):
    step = lambda trials, wanted: staged_step(keys, max_queries, trials, wanted=wanted)
    return _finish_on_host(step, begin(keys, examples))

  return _Made(cost, asking)


def _until_finished(step_all: Callable[[Trial], Trial], trials: Trial) -> Trial:
  """Moves trials until all of them are finished, in one loop of the device."""
  return jax.lax.while_loop(lambda trials: ~trials.finished.all(), step_all, trials)


def _finish_on_host(step_all: Callable[[Trial, np.ndarray], Trial], trials: Trial) -> Trial:
  """The same, step by step: a model outside JAX is asked between them."""
  if is_traced(trials.finished, trials.example.image):
    raise ValueError(
      "a model outside JAX cannot be asked inside jit or vmap: call the attack outside"
    )
  finished = np.asarray(trials.finished)
  with progress.Progress(len(finished), unit="images", label="attacking") as bar:
    while not finished.all():
      with _partial(lambda: trials):
        trials = step_all(trials, ~finished)
      now = np.asarray(trials.finished)
      num_queries = int(np.asarray(trials.num_queries, np.int64).sum())
      bar.update(int(now.sum() - finished.sum()), f"{num_queries} queries")
      finished = now
  return trials


@contextlib.contextmanager
def _partial(trials):
  """Hands out what is done where a model outside JAX ends it."""
  try:
    yield
  except (OSError, ValueError) as e:
    finished = np.asarray(trials().finished)
    raise Interrupted(
      f"{e}; {finished.sum()} of {len(finished)} images are done: they are in this error's "
      f"`result`; image i of the others goes with attack_one(jax.random.fold_in(key, i), ...)",
      _result(trials()),
      finished,
    ) from e
