"""One step of Adam in tanh space, on any gradient: exact or estimated."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from orjax import geometry
from orjax import objectives
from orjax.attacks.starts import Start
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Estimator
from orjax.types import judged
from orjax.types import Objective

_GUARD = 0.999999  # of C&W's code against arctanh(1): saturated pixels start at +-7.3


class DescentState(NamedTuple):
  """The point w [H, W, C] in tanh space, Adam's state, the image judged last."""

  w: jax.Array
  optimizer: Any
  adversarial: jax.Array


@factory
def descent(
  objective: Objective,
  estimator: Estimator,
  *,
  trade_off: jax.Array,
  learning_rate: float = 0.01,
  start: Start | None = None,
) -> Attack:
  """One iteration a step: Adam in tanh space on ||x - x0||^2 + c objective.loss.

  The estimate is of the objective's gradient with respect to the image, the only part
  that asks the oracle; the distance and the map from tanh space are differentiated
  exactly. So an estimator's spacing is in pixels.

  Args:
    objective: what the attacker wants.
    estimator: how it gets the gradient; the answer at the image is the success test.
    trade_off: c; may be traced.
    learning_rate: of Adam.
    start: `start(key, image) -> image`, where the descent begins: see `starts`; at the
      image itself by default.

  Returns:
    An `Attack` that never finishes; `adversarial` is the image judged by the step, from
    before its update.
  """
  optimizer = optax.adam(learning_rate)

  def init(key, example):
    begin = example.image if start is None else start(key, example.image)
    w = geometry.to_tanh_space(begin, _GUARD)
    return DescentState(w, optimizer.init(w), geometry.from_tanh_space(w))

  def step(key, oracle, example, state):
    image, pull_back = jax.vjp(geometry.from_tanh_space, state.w)
    reference = geometry.from_tanh_space(geometry.to_tanh_space(example.image, _GUARD))
    found = estimator.estimate(key, objectives.asked(objective, oracle, example.label), image)
    # A direction that is no number says nothing.
    slope = jnp.where(jnp.isfinite(found.gradient), found.gradient, 0)
    (gradient,) = pull_back(2 * (image - reference) + trade_off * slope)
    with jax.numpy_dtype_promotion("standard"):  # optax's own counter needs it
      updates, optimizer_state = optimizer.update(gradient, state.optimizer)
    loss = jnp.sum(jnp.square(image - reference)) + trade_off * found.value
    achieved = objective.achieved(found.answer, example.label)
    info = judged(
      oracle, estimator.num_points, loss=loss, achieved=achieved, gradient=found.gradient
    )
    return DescentState(state.w + updates, optimizer_state, image), info

  return Attack(init, step)
