"""Carlini and Wagner's l2 attack, on any gradient: exact or estimated."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax.attacks import wrappers
from orjax.attacks.starts import Start
from orjax.types import Attack
from orjax.types import Estimator
from orjax.types import Objective
from orjax.types import StepInfo


class DescentState(NamedTuple):
  """The point w [H, W, C] in tanh space, Adam's state, the image judged last."""

  w: jax.Array
  optimizer: Any
  adversarial: jax.Array


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
    w = geometry.to_tanh_space(begin)
    return DescentState(w, optimizer.init(w), geometry.from_tanh_space(w))

  def step(key, oracle, example, state):
    image, pull_back = jax.vjp(geometry.from_tanh_space, state.w)
    reference = geometry.from_tanh_space(geometry.to_tanh_space(example.image))
    found = estimator.estimate(key, objectives.asked(objective, oracle, example.label), image)
    # A direction that is no number says nothing.
    slope = jnp.where(jnp.isfinite(found.gradient), found.gradient, 0)
    (gradient,) = pull_back(2 * (image - reference) + trade_off * slope)
    with jax.numpy_dtype_promotion("standard"):  # optax's own counter needs it
      updates, optimizer_state = optimizer.update(gradient, state.optimizer)
    loss = jnp.sum(jnp.square(image - reference)) + trade_off * found.value
    achieved = objective.achieved(found.answer, example.label)
    info = StepInfo(
      loss,
      achieved,
      jnp.zeros((), bool),
      jnp.int32(estimator.num_points * oracle.queries_per_row),
      ~achieved & (found.gradient == 0).all(),
    )
    return DescentState(state.w + updates, optimizer_state, image), info

  return Attack(init, step)


def carlini_wagner(
  objective: Objective,
  estimator: Estimator | None = None,
  *,
  learning_rate: float = 0.01,
  initial_trade_off: float = 1e-3,
  binary_search_steps: int = 9,
  max_steps: int = 10_000,
  check_every: int | None = 1000,
  check_average: bool = False,
  start: Start | None = None,
  confirmations: int = 0,
) -> Attack:
  """Carlini and Wagner's l2 attack, whole: the smallest l2 distance that succeeds.

  Binary search over c of Adam in tanh space with abort-early. The reference works on
  logits z; on probabilities `objectives.log_margin` is the same loss, as
  log p_i - log p_j = z_i - z_j. With `estimators.autodiff` it differentiates through
  whatever the oracle adds, noise included; with `estimators.nes` it is a black-box attack.

  Args:
    objective: `log_margin` on probabilities, `margin` on logits.
    estimator: `autodiff()` by default, the white-box attack.
    learning_rate: of Adam.
    initial_trade_off: the first c.
    binary_search_steps: repetitions of the search over c.
    max_steps: iterations a repetition.
    check_every: iterations between abort-early checks, a tenth of max_steps in the
      reference; None never gives up.
    check_average, start, confirmations: as in `zoo`.

  Returns:
    An `Attack` that asks `estimator.num_points + confirmations` rows a step.

  References:
    Carlini and Wagner (2017), section VI; `l2_attack.py` of their code.
  """
  estimator = estimators.autodiff() if estimator is None else estimator

  def with_trade_off(trade_off):
    return descent(
      objective, estimator, trade_off=trade_off, learning_rate=learning_rate, start=start
    )

  return wrappers.smallest(
    with_trade_off,
    objective,
    initial_trade_off=initial_trade_off,
    binary_search_steps=binary_search_steps,
    max_steps=max_steps,
    check_every=check_every,
    check_average=check_average,
    outside=start is not None,
    confirmations=confirmations,
  )
