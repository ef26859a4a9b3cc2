"""ZOO: coordinate descent on central differences, for the smallest l2 distance."""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from orjax import estimators
from orjax import geometry
from orjax.attacks import wrappers
from orjax.attacks.starts import Start
from orjax.types import Attack
from orjax.types import Objective
from orjax.types import StepInfo


class Solver(NamedTuple):
  """How a coordinate moves.

  Attributes:
    init: `init(size) -> state`.
    update: `update(state, coordinates, slopes, curvatures) -> (moves [B], state)`.
  """

  init: Callable[[int], Any]
  update: Callable[..., tuple[jax.Array, Any]]


class AdamState(NamedTuple):
  """Per coordinate [D]: both moments and how often it was updated, plus 1."""

  first_moment: jax.Array
  second_moment: jax.Array
  count: jax.Array


def adam(*, learning_rate: float = 0.01, b1: float = 0.9, b2: float = 0.999,
         epsilon: float = 1e-8) -> Solver:
  """Adam with its own step counter for every coordinate; only the chosen ones advance."""

  def init(size):
    return AdamState(jnp.zeros(size), jnp.zeros(size), jnp.ones(size, jnp.int32))

  def update(state, coordinates, slopes, curvatures):
    del curvatures
    first = b1 * state.first_moment[coordinates] + (1 - b1) * slopes
    second = b2 * state.second_moment[coordinates] + (1 - b2) * slopes**2
    count = state.count[coordinates]
    power = count.astype(jnp.float32)
    rate = learning_rate * jnp.sqrt(1 - b2**power) / (1 - b1**power)
    # A slope that is no number says nothing: its coordinate stays as it is.
    usable = jnp.isfinite(slopes)
    keep = lambda new, old: old.at[coordinates].set(jnp.where(usable, new, old[coordinates]))
    state = AdamState(keep(first, state.first_moment), keep(second, state.second_moment),
                      keep(count + 1, state.count))
    return jnp.where(usable, -rate * first / (jnp.sqrt(second) + epsilon), 0), state

  return Solver(init, update)


def newton(*, learning_rate: float = 0.01, floor: float = 0.1) -> Solver:
  """ZOO's Newton step: slope over curvature, with curvatures below `floor` raised.

  A negative curvature counts as 1, as in the official code; then every one below `floor`
  as `floor`. At h = 1e-4 a curvature in float32 is mostly rounding noise.
  """

  def update(state, coordinates, slopes, curvatures):
    del coordinates
    curvatures = jnp.maximum(jnp.where(curvatures < 0, 1, curvatures), floor)
    moves = -learning_rate * slopes / curvatures
    return jnp.where(jnp.isfinite(moves), moves, 0), state

  return Solver(lambda size: (), update)


def adam_newton(*, learning_rate: float = 0.01, floor: float = 0.1) -> Solver:
  """The hybrid of ZOO's code: Newton where the curvature is not negative, Adam elsewhere.

  Adam's moments follow all coordinates that were asked.
  """
  first, second = adam(learning_rate=learning_rate), newton(
      learning_rate=learning_rate, floor=floor)

  def update(state, coordinates, slopes, curvatures):
    adam_moves, state = first.update(state, coordinates, slopes, curvatures)
    newton_moves, _ = second.update((), coordinates, slopes, curvatures)
    return jnp.where(curvatures < 0, adam_moves, newton_moves), state

  return Solver(first.init, update)


class CoordinateDescentState(NamedTuple):
  """The modifier [H, W, C], the solver's state, the image judged last."""

  modifier: jax.Array
  solver: Any
  adversarial: jax.Array


def coordinate_descent(objective: Objective, solver: Solver, *, trade_off: jax.Array,
                       num_coordinates: int = 128, spacing: float = 1e-4,
                       tanh_space: bool = False, start: Start | None = None) -> Attack:
  """One iteration of ZOO a step: 2 num_coordinates + 1 rows in one query.

  Minimises ||x - x0||^2 + trade_off * objective.loss over a modifier of the image, along
  coordinates drawn without replacement. The row for the image itself, which the central
  differences do not need, is the success test.

  Args:
    objective: what the attacker wants.
    solver: how coordinates move.
    trade_off: c; may be traced.
    num_coordinates: coordinates a step.
    spacing: h, in the modifier's units.
    tanh_space: the modifier is added to arctanh(image), as ZOO does for CIFAR10 and
      ImageNet; otherwise to the image, clipped to the box after every update.
    start: `start(key, image) -> image`, where the descent begins: see `starts`; at the
      image itself by default.

  Returns:
    An `Attack` that never finishes; `adversarial` is the image judged by the step, from
    before its update.

  References:
    Chen et al. (2017), algorithms 1 and 2, and `blackbox_optimizer` of their code.
  """

  def to_image(modifier, image):
    if tanh_space:
      return geometry.from_tanh_space(geometry.to_tanh_space(image) + modifier)
    return image + modifier

  def init(key, example):
    image = example.image
    modifier = jnp.zeros_like(image)
    if start is not None:
      modifier = start(key, image)
      modifier = (geometry.to_tanh_space(modifier) - geometry.to_tanh_space(image)
                  if tanh_space else modifier - image)
    return CoordinateDescentState(
        modifier, solver.init(modifier.size), to_image(modifier, image))

  def step(key, oracle, example, state):
    coordinate_key, query_key = jax.random.split(key)
    image, modifier = example.image, state.modifier
    coordinates = estimators.draw_coordinates(coordinate_key, modifier.size, num_coordinates)
    modifiers = estimators.central_points(modifier, coordinates, spacing)
    points = to_image(modifiers, image[None])
    rows = oracle.query(query_key, points)
    reference = to_image(jnp.zeros_like(modifier), image)[None]
    distances = jnp.sum(jnp.square(points - reference), axis=(1, 2, 3))
    hinges = jax.vmap(objective.loss, in_axes=(0, None))(rows, example.label)
    losses = distances + trade_off * hinges
    loss, slopes, curvatures = estimators.central_differences(losses, spacing)
    moves, solver_state = solver.update(state.solver, coordinates, slopes, curvatures)
    modifier = modifier.reshape(-1).at[coordinates].add(moves).reshape(image.shape)
    if not tanh_space:
      modifier = jnp.clip(modifier, -image, 1 - image)
    info = StepInfo(loss, objective.achieved(rows[0], example.label), jnp.zeros((), bool),
                    jnp.int32(len(points) * oracle.queries_per_row))
    return CoordinateDescentState(modifier, solver_state, points[0]), info

  return Attack(init, step)


def zoo(objective: Objective, *, solver: Solver | None = None, num_coordinates: int = 128,
        spacing: float = 1e-4, tanh_space: bool = False, initial_trade_off: float = 0.01,
        binary_search_steps: int = 9, max_steps: int = 3000,
        check_every: int | None = 100, check_average: bool = False,
        start: Start | None = None, confirmations: int = 0) -> Attack:
  """The Zeroth Order Optimization attack, whole.

  Binary search over c of coordinate descent with abort-early; hands in the closest image
  that its own (possibly noisy) queries judged adversarial.

  Args:
    objective: `objectives.log_margin` in the reference.
    solver: `adam()` by default, with ZOO's learning rate for MNIST and CIFAR10.
    num_coordinates: coordinates a step; at most the image's entries.
    spacing: h; 1e-4 in the paper.
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

  Returns:
    An `Attack` that asks 2 num_coordinates + 1 + confirmations rows a step.
  """
  solver = adam() if solver is None else solver

  def with_trade_off(trade_off):
    return coordinate_descent(
        objective, solver, trade_off=trade_off, num_coordinates=num_coordinates,
        spacing=spacing, tanh_space=tanh_space, start=start)

  return wrappers.smallest(
      with_trade_off, objective, initial_trade_off=initial_trade_off,
      binary_search_steps=binary_search_steps, max_steps=max_steps,
      check_every=check_every, check_average=check_average, outside=start is not None,
      confirmations=confirmations)
