"""Carlini and Wagner's l2 attack, on any gradient: exact or estimated."""

import functools
import math

import jax

from orjax import estimators
from orjax.attacks import wrappers
from orjax.attacks.starts import Start
from orjax.attacks.steps.descent import descent
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Estimator
from orjax.types import Objective


@factory
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
  agreement: jax.typing.ArrayLike = 0.5,
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
    check_average, start, confirmations, agreement: as in `zoo`.

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
    give_up=functools.partial(
      wrappers.patience,
      max_steps=max_steps,
      check_every=check_every,
      average=check_average,
      first_loss=math.inf,
    ),
    outside=start is not None,
    confirmations=confirmations,
    agreement=agreement,
  )
