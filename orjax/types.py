"""The four small types everything else is made of.

Shapes: B rows of a query, H W C an image, K classes, N points of an estimate. Images
are float32 in [0, 1]. Everything is written for one image; batching is `jax.vmap`,
done outside. A `key` argument is consumed.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import factories

Key = jax.Array
LOG_FLOOR = 1e-30  # the guard inside the logs of the ZOO and C&W code
# loss_fn(key, points [N, ...]) -> losses [N], answers [N, K]
LossFn = Callable[[Key, jax.Array], tuple[jax.Array, jax.Array]]


class Oracle(NamedTuple):
  """What the attacker may ask.

  Attributes:
    query: `query(key, images [B, H, W, C]) -> answers [B, K]`; the key drives whatever
      is random in the answer.
    queries_per_row: queries charged for one row of `images`.
    inside: `inside(stddev) -> Oracle`: the same classifier with Gaussian noise of that
      stddev [] inside the network, drawn anew for every row; None where the network has no
      place for noise. Whatever wraps an oracle drops it.
    random: the classifier itself is meant to answer an image differently with each key, and a
      row may draw from its place in the batch; not said of what a defense adds.
  """

  query: Callable[[Key, jax.Array], jax.Array]
  queries_per_row: int = 1
  inside: Callable[[Any], Any] | None = None
  random: bool = False


class Example(NamedTuple):
  """What is attacked: an image [H, W, C] and a class int32 [].

  The label is the true class of an untargeted attack and the target of a targeted one;
  the `Objective` knows which.
  """

  image: jax.Array
  label: jax.Array


class Objective(NamedTuple):
  """What the attacker wants, on one answer [K].

  Attributes:
    loss: `loss(row, label) -> []`; the attacker always minimises it.
    achieved: `achieved(row, label) -> bool []`.
  """

  loss: Callable[[jax.Array, jax.Array], jax.Array]
  achieved: Callable[[jax.Array, jax.Array], jax.Array]

  def __repr__(self):
    return factories.told(self)


class GradientEstimate(NamedTuple):
  """An estimate at one image.

  Attributes:
    value: the loss at the image itself [].
    gradient: of the image's shape.
    answer: what the oracle said of the image itself [K].
    mean: the loss averaged over the points around the image, or the value where there
      are none [].
  """

  value: jax.Array
  gradient: jax.Array
  answer: jax.Array
  mean: jax.Array


class Estimator(NamedTuple):
  """A way to get a gradient.

  Attributes:
    estimate: `estimate(key, loss_fn, image) -> GradientEstimate`.
    num_points: how many points `loss_fn` is given, in one call; the first is the image.
  """

  estimate: Callable[[Key, LossFn, jax.Array], GradientEstimate]
  num_points: int

  def __repr__(self):
    return factories.told(self)


class StepInfo(NamedTuple):
  """What a step reports; never carried.

  Attributes:
    loss: of the image that the step judged [].
    success: the step saw, through the oracle, something to hand in.
    finished: the attack will not go on.
    num_queries: rows asked times the oracle's `queries_per_row`, int32 [].
    learnt: the image is a success, or the answers told the step where to go: one that found
      a gradient of exactly 0 everywhere, or none that is a number, was blind, bool [].
  """

  loss: jax.Array
  success: jax.Array
  finished: jax.Array
  num_queries: jax.Array
  learnt: jax.Array


def clamped_log(probability: jax.Array) -> jax.Array:
  """log(max(p, 0) + `LOG_FLOOR`) of numbers of any shape: a noisy p below 0 has no logarithm."""
  return jnp.log(jnp.maximum(probability, 0) + LOG_FLOOR)


def teaches(gradient: jax.Array) -> jax.Array:
  """Whether a gradient of any shape says where to go: an entry is a number and not 0, bool []."""
  return ((gradient != 0) & jnp.isfinite(gradient)).any()


def judged(
  oracle: Oracle, num_rows: int, *, loss: jax.Array, achieved: jax.Array, gradient: jax.Array
) -> StepInfo:
  """The report of a step that judged one image and does not end the attack.

  Args:
    oracle: what was asked.
    num_rows: rows that the step asked it.
    loss: of the image [].
    achieved: whether the answer about the image is a success, bool [].
    gradient: of the loss, all that the step found of it, of any shape.
  """
  return StepInfo(
    loss,
    achieved,
    jnp.zeros((), bool),
    jnp.int32(num_rows * oracle.queries_per_row),
    achieved | teaches(gradient),
  )


class Attack(NamedTuple):
  """A pair of pure functions; every state has `adversarial` [H, W, C].

  A state, or the `inner` one of a wrapper, may have `chosen`, too: finite numbers or flags by
  name, for the record, of an attack that chooses how it asks by what it was told, such as
  `wrappers.informed`; all 0 or False until it has chosen.

  Attributes:
    init: `init(key, example) -> state`; asks nothing.
    step: `step(key, oracle, example, state) -> (state, StepInfo)`. Every step of an
      attack asks the same number of rows.
  """

  init: Callable[[Key, Example], Any]
  step: Callable[[Key, Oracle, Example, Any], tuple[Any, StepInfo]]

  def __repr__(self):
    return factories.told(self)
