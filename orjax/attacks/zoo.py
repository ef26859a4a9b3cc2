"""ZOO: coordinate descent on central differences, for the smallest l2 distance."""

import functools

import jax

from orjax.attacks import solvers
from orjax.attacks import wrappers
from orjax.attacks.starts import Start
from orjax.attacks.steps.coarse_to_fine import coarse_to_fine_descent
from orjax.attacks.steps.coarse_to_fine import CoarseToFine
from orjax.attacks.steps.coordinate_descent import coordinate_descent
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective


@factory
def zoo(
  objective: Objective,
  *,
  solver: solvers.Solver | None = None,
  num_coordinates: int = 128,
  spacing: jax.typing.ArrayLike = 1e-4,
  tanh_space: bool = False,
  initial_trade_off: float = 0.01,
  binary_search_steps: int = 9,
  max_steps: int = 3000,
  check_every: int | None = 100,
  check_average: bool = False,
  start: Start | None = None,
  confirmations: int = 0,
  agreement: jax.typing.ArrayLike = 0.5,
  coarse: CoarseToFine | None = None,
) -> Attack:
  """The Zeroth Order Optimization attack, whole.

  Binary search over c of coordinate descent with abort-early; hands in the closest image
  that its own (possibly noisy) queries judged adversarial.

  Args:
    objective: `objectives.log_margin` in the reference.
    solver: `adam()` by default, with ZOO's learning rate for MNIST and CIFAR10.
    num_coordinates: coordinates a step; at most the image's entries.
    spacing: h; 1e-4 in the paper; may be traced.
    tanh_space: False for MNIST, True for CIFAR10.
    initial_trade_off: the first c.
    binary_search_steps: repetitions of the search over c.
    max_steps: iterations a repetition: 3000 for MNIST, 1000 for CIFAR10.
    check_every: iterations between abort-early checks; None for an attacker who never
      gives up early.
    check_average: check means of losses: see `patience`.
    start: where each repetition begins, drawn until it is a success: see `starts`; at
      the image itself by default.
    confirmations: fresh answers, most of which must agree with a success.
    agreement: more than this share of them, that is; may be traced.
    coarse: the modifier's sizes, if it is coarser than the image, as for ImageNet.

  Returns:
    An `Attack` that asks 2 num_coordinates + 1 + confirmations rows a step.

  Raises:
    ValueError: a coarse modifier outside tanh space, or with a start.
  """
  solver = solvers.adam() if solver is None else solver

  if coarse is not None and (not tanh_space or start is not None):
    raise ValueError(
      "a coarse modifier lives in tanh space and starts at the image: pass "
      "tanh_space=True and no start"
    )

  def with_trade_off(trade_off):
    if coarse is not None:
      return coarse_to_fine_descent(
        objective,
        solver,
        coarse,
        trade_off=trade_off,
        num_coordinates=num_coordinates,
        spacing=spacing,
      )
    return coordinate_descent(
      objective,
      solver,
      trade_off=trade_off,
      num_coordinates=num_coordinates,
      spacing=spacing,
      tanh_space=tanh_space,
      start=start,
    )

  return wrappers.smallest(
    with_trade_off,
    objective,
    initial_trade_off=initial_trade_off,
    binary_search_steps=binary_search_steps,
    give_up=functools.partial(
      wrappers.patience, max_steps=max_steps, check_every=check_every, average=check_average
    ),
    outside=start is not None,
    confirmations=confirmations,
    agreement=agreement,
  )
