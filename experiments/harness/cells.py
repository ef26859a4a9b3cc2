"""What the engine is given for one attack of a sweep, and what is kept of what it gives back."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import functools
import itertools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness.attacks.spec import AttackRequest
from harness.attacks.spec import Variant
from harness.classifiers.model import in_float64
from harness.classifiers.model import Model
from harness.recipes import Recipe
from orjax import datasets
from orjax import engine
from orjax import oracles
from orjax import records
from orjax.engine import trials
from orjax.threats import Defense
from orjax.threats import threat_model
from orjax.threats import ThreatModel
from orjax.types import Example
from orjax.types import Oracle


class Attacked(NamedTuple):
  """What every cell of a sweep has in common.

  Attributes:
    name: of the data.
    model: the classifier.
    images: float32 [N, H, W, C].
    labels: int [N].
    indices: of the images in their data set [N].
    defense: what answers at test time.
    strengths: of it.
    attack: the request.
    num_runs: repeats.
    seed: of targets, and for the records.
    rows_per_call: images the network sees at a time.
  """

  name: str
  model: Model
  images: np.ndarray
  labels: np.ndarray
  indices: np.ndarray
  defense: Defense
  strengths: list[float]
  attack: AttackRequest
  num_runs: int
  seed: int
  rows_per_call: int | None


class Cell(NamedTuple):
  """One run of the engine: a variant of the attack, who answers whom, the trials.

  `quiet(variables)` is the undefended model as the attack reads it, for traces.
  """

  variant: Variant
  threats: ThreatModel
  variables: Any
  tasks: list[engine.Task]
  quiet: Callable[[Any], Oracle]


def check_budget(
  variants: list[Variant], image_shape: tuple[int, ...], num_classes: int, max_queries: int
) -> None:
  """Raises ValueError if one step does not fit the image or the budget; asks nothing."""
  example = Example(jnp.zeros(image_shape), jnp.int32(0))
  for variant in variants:
    oracle = oracles.averaged(
      oracles.from_predict(lambda images: jnp.zeros((len(images), num_classes))),
      variant.num_samples,
    )
    trials.check_budget(trials.queries_per_step(variant.attack, oracle, example), max_queries)


def num_trials(common: Attacked, variants: list[Variant]) -> int:
  """Trials of a whole sweep."""
  targets = common.model.num_classes - 1 if common.attack.all_targets else 1
  per_variant = len(common.strengths) * len(common.indices) * common.num_runs * targets
  return per_variant * len(variants)


def bytes_per_slot(found: Cell) -> int:
  """Memory that a trial takes on a device: its state and the images of a step, twice."""
  first = engine.inputs(found.tasks[0])
  example = Example(jnp.asarray(first.image), jnp.asarray(first.label))
  state = jax.eval_shape(found.variant.attack.init, jax.random.key(0), example)
  oracle = found.threats.asked(found.variables, first.setting)
  queries = trials.queries_per_step(found.variant.attack, oracle, example)
  size = lambda leaf: leaf.size * leaf.dtype.itemsize
  return 2 * (
    sum(map(size, jax.tree.leaves(state)))
    + queries // oracle.queries_per_row * found.tasks[0].image.nbytes
  )


def cell(common: Attacked, variant: Variant, others: Mapping[Recipe, Model]) -> Cell:
  """What the engine needs for a variant; in float64 under `jax.enable_x64` only.

  Args:
    common: what all cells share.
    variant: the attack.
    others: the networks that variants need beside the attacked one.
  """
  model, images = common.model, common.images
  other = others[variant.substitute] if variant.substitute else None
  if variant.begun:
    variant = variant._replace(attack=variant.begun(*(_network(others[x]) for x in variant.begin)))
  if variant.float64:
    model = in_float64(model, common.rows_per_call)
    other = other and in_float64(other, common.rows_per_call)
    images = images.astype(np.float64)
  # White-box PGD looks at logits; so do its verdicts: without noise their order is the same.
  answers = model.logits if common.attack.sees_logits else model.clean
  assert answers, "a model outside JAX is refused before"
  served = (lambda v: _clipped(answers(v))) if common.attack.server_clips else answers
  read = oracles.log_answers if common.attack.takes_logs else lambda oracle: oracle
  threats = threat_model(
    served,
    common.defense,
    attacker=lambda oracle: read(oracles.averaged(oracle, variant.num_samples)),
    asks=other and other.logits,
    judge=None if model.judge is None else model.undefended,
  )
  variables = model.variables if other is None else (model.variables, other.variables)
  image_of = dict(zip(common.indices.tolist(), images))
  tasks = [_task(common, image_of[each["index"]], each) for each in identities(common, variant)]
  return Cell(variant, threats, variables, tasks, lambda v: read(threats.clean(v)))


def _network(model):
  """Logits of images, of a model with variables of its own."""
  return functools.partial(model.apply, model.variables)


def _clipped(oracle):
  inside = oracle.inside
  return oracle._replace(
    query=lambda key, images: oracle.query(key, jnp.clip(images, 0, 1)),
    inside=inside and (lambda stddev: _clipped(inside(stddev))),
  )


def identities(common: Attacked, variant: Variant) -> Iterator[dict[str, Any]]:
  """The first fields of the record of every trial of a variant."""
  for strength in common.strengths:
    for index, label in zip(common.indices.tolist(), common.labels.tolist()):
      for target, run in itertools.product(_targets(common, index, label), range(common.num_runs)):
        yield {
          "dataset": common.name,
          "model": common.model.name,
          "trained_with": common.model.trained_with,
          "defense": common.defense.name,
          "strength": strength,
          "attack": common.attack.name,
          "targeted": common.attack.targeted,
          "num_samples": variant.num_samples,
          "seed": common.seed,
          "run": run,
          "index": index,
          "label": label,
          "target": target,
          "setting": variant.setting,
        }


def _targets(common, index, label):
  if not common.attack.targeted:
    return [None]
  return datasets.targets(
    common.seed, index, label, common.model.num_classes, draw=not common.attack.all_targets
  )


def _task(common, image, identity):
  return engine.Task(
    identity,
    image,
    identity["label"] if identity["target"] is None else identity["target"],
    identity["run"],
    identity["index"],
    common.defense.settings(identity["strength"]),
    # Through the weakest defense, named first, an attack goes on for longest.
    expected_steps=-common.strengths.index(identity["strength"]),
  )


def keep_picture(directory: str, outcome: engine.Outcome) -> None:
  """Keeps an outcome's images for the picture grid."""
  name = records.picture_name(outcome.task.identity)
  records.add_pictures(
    directory,
    jax.process_index(),
    {f"{name}/image": outcome.task.image, f"{name}/adversarial": outcome.adversarial},
  )
