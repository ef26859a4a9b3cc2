"""Attackers who measure the noise and then know how to ask: on NES gradients, or as ZOO."""

from orjax import estimators
from orjax.attacks import solvers
from orjax.attacks.carlini_wagner import carlini_wagner
from orjax.attacks.wrappers.choices import Choice
from orjax.attacks.wrappers.informed import informed
from orjax.attacks.wrappers.pilot import Pilot
from orjax.attacks.wrappers.subspaces import directions
from orjax.attacks.wrappers.subspaces import gain
from orjax.attacks.zoo import zoo
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_LONGEST_SPACING = 0.25  # of a single pixel's range


@factory
def informed_nes(
  objective: Objective,
  *,
  num_pairs: int = 118,
  learning_rate: float = 0.05,
  trade_off: float = 4.0,
  binary_search_steps: int = 1,
  max_steps: int = 400,
  confirmations: int = 20,
  pilot: Pilot = Pilot(),
) -> Attack:
  """C&W's search for the smallest l2 distance on NES gradients, by an attacker who measures.

  A pilot picks the statistic, the scale of the directions and whether they are of tiles (see
  `wrappers.informed`); the descent begins just outside of the class, where the pilot found a
  way out, never gives up early, and believes a vote.

  Args:
    objective: whose `achieved` is the success, untargeted; its loss is not used.
    num_pairs: antithetic pairs a step.
    learning_rate: of Adam.
    trade_off: first c of a loss that is about the squared distance to cover: 2 is where loss
      and distance balance at the start.
    binary_search_steps: repetitions of the search over c.
    max_steps: iterations a repetition, the pilot's not among them.
    confirmations: fresh answers a step, which vote.
    pilot: how much is measured.

  Returns:
    An `Attack` that asks 2 num_pairs + 1 + confirmations rows a step, the pilot's included.
  """

  def make_attack(choice: Choice) -> Attack:
    estimator = estimators.nes(
      num_pairs=num_pairs,
      smoothing=choice.smoothing,
      directions=lambda key, num, image: directions(key, num, image, choice.in_tiles),
      gain=lambda image: gain(image, choice.in_tiles),
    )
    return carlini_wagner(
      choice.objective,
      estimator,
      learning_rate=learning_rate,
      initial_trade_off=trade_off,
      binary_search_steps=binary_search_steps,
      max_steps=max_steps,
      check_every=None,
      start=choice.start,
      confirmations=confirmations,
      agreement=choice.agreement,
    )

  return informed(
    make_attack,
    objective,
    num_averaged=max_steps * num_pairs,
    num_votes=confirmations,
    step_size=learning_rate,
    pilot=pilot,
  )


@factory
def informed_zoo(
  objective: Objective,
  *,
  num_coordinates: int = 118,
  learning_rate: float = 0.05,
  trade_off: float = 4.0,
  binary_search_steps: int = 1,
  max_steps: int = 400,
  confirmations: int = 20,
  pilot: Pilot = Pilot(tiles=False),
) -> Attack:
  """ZOO by an attacker who measures: see `informed_nes`.

  Args:
    objective: whose `achieved` is the success, untargeted; its loss is not used.
    num_coordinates: coordinates a step.
    learning_rate, trade_off, binary_search_steps, max_steps, confirmations: see `informed_nes`.
    pilot: how much is measured; a coordinate is a pixel, so that tiles are of no use.

  Returns:
    An `Attack` that asks 2 num_coordinates + 1 + confirmations rows a step.
  """

  def make_attack(choice: Choice) -> Attack:
    return zoo(
      choice.objective,
      solver=solvers.adam(learning_rate=learning_rate),
      num_coordinates=num_coordinates,
      spacing=choice.length,
      initial_trade_off=trade_off,
      binary_search_steps=binary_search_steps,
      max_steps=max_steps,
      check_every=None,
      start=choice.start,
      confirmations=confirmations,
      agreement=choice.agreement,
    )

  return informed(
    make_attack,
    objective,
    num_averaged=max_steps * num_coordinates,
    num_votes=confirmations,
    longest=_LONGEST_SPACING,
    pilot=pilot,
  )
