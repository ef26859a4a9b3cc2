"""ZOO's iteration: coordinate descent on central differences."""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax.attacks import solvers
from orjax.attacks.starts import Start
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import judged
from orjax.types import Key
from orjax.types import Objective
from orjax.types import Oracle


def measure(
  objective: Objective,
  trade_off: jax.Array,
  oracle: Oracle,
  key: Key,
  points: jax.Array,
  reference: jax.Array,
  label: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What ZOO minimises, ||x - x0||^2 + c loss, at points [N, H, W, C].

  Returns:
    That sum [N], the losses alone [N], and the oracle's answers [N, K].
  """
  hinges, rows = objectives.asked(objective, oracle, label)(key, points)
  distances = jnp.sum(jnp.square(points - reference[None]), axis=(1, 2, 3))
  return distances + trade_off * hinges, hinges, rows


class CoordinateDescentState(NamedTuple):
  """The modifier [H, W, C], the solver's state, the image judged last."""

  modifier: jax.Array
  solver: Any
  adversarial: jax.Array


@factory
def coordinate_descent(
  objective: Objective,
  solver: solvers.Solver,
  *,
  trade_off: jax.Array,
  num_coordinates: int = 128,
  spacing: jax.typing.ArrayLike = 1e-4,
  tanh_space: bool = False,
  start: Start | None = None,
) -> Attack:
  """One iteration of ZOO a step: 2 num_coordinates + 1 rows in one query.

  Minimises ||x - x0||^2 + trade_off * objective.loss over a modifier of the image, along
  coordinates drawn without replacement. The row for the image itself, which the central
  differences do not need, is the success test.

  Args:
    objective: what the attacker wants.
    solver: how coordinates move.
    trade_off: c; may be traced.
    num_coordinates: coordinates a step.
    spacing: h, in the modifier's units; may be traced.
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
      modifier = (
        geometry.to_tanh_space(modifier) - geometry.to_tanh_space(image)
        if tanh_space
        else modifier - image
      )
    return CoordinateDescentState(modifier, solver.init(modifier.size), to_image(modifier, image))

  def step(key, oracle, example, state):
    coordinate_key, query_key = jax.random.split(key)
    image, modifier = example.image, state.modifier
    coordinates = estimators.draw_coordinates(coordinate_key, modifier.size, num_coordinates)
    modifiers = estimators.central_points(modifier, coordinates, spacing)
    points = to_image(modifiers, image[None])
    reference = to_image(jnp.zeros_like(modifier), image)
    losses, hinges, rows = measure(
      objective, trade_off, oracle, query_key, points, reference, example.label
    )
    loss, slopes, curvatures = estimators.central_differences(losses, spacing)
    moves, solver_state = solver.update(state.solver, coordinates, slopes, curvatures)
    modifier = modifier.reshape(-1).at[coordinates].add(moves).reshape(image.shape)
    if not tanh_space:
      modifier = jnp.clip(modifier, -image, 1 - image)
    achieved = objective.achieved(rows[0], example.label)
    # What was learnt of the model: the distance has a slope everywhere.
    _, learnt, _ = estimators.central_differences(hinges, spacing)
    info = judged(oracle, len(points), loss=loss, achieved=achieved, gradient=learnt)
    return CoordinateDescentState(modifier, solver_state, points[0]), info

  return Attack(init, step)
