"""Attacks in an l_inf ball that need no gradient of the model: what --diagnose tries beside PGD.

Where an answer does not change along an infinitesimal step (an image that is rounded first,
say), every gradient is 0, and every attack that follows one is blind together. These are not.
"""

from orjax import attacks
from orjax import estimators
from orjax.types import Attack
from orjax.types import Objective

SEARCHES = ("square", "rays", "smoothed")
_WINDOW_SHARE = 0.8  # of Square's first windows, as in AutoAttack
_MAX_PAIRS = 25  # of `smoothed` a step, as QL has: all trials' rows are one batch


def num_steps(search: str, usual: int, num_queries: int) -> int:
  """Steps that a search takes for its queries.

  Args:
    search: which.
    usual: steps of PGD; `smoothed` takes as many or, of 25 pairs, more.
    num_queries: of the search.
  """
  if search != "smoothed":
    return num_queries
  return max(usual, num_queries // (2 * _num_pairs(usual, num_queries)))


def _num_pairs(usual, num_queries):
  return min(max(1, num_queries // (2 * usual)), _MAX_PAIRS)


def build(
  search: str,
  objective: Objective,
  *,
  radius: float,
  step_size: float,
  usual_steps: int,
  num_queries: int,
  stop_at_success: bool,
) -> Attack:
  """One of `SEARCHES`, from one start.

  `square` compares losses; `rays` looks at labels only; `smoothed` is PGD whose gradient is
  that of the loss averaged over Gaussian noise of half the radius, by antithetic differences:
  steps of that size are not rounded away.

  Args:
    search: which.
    objective: on logits.
    radius: of the ball, in units of [0, 1].
    step_size: of `smoothed`, likewise.
    usual_steps: of PGD.
    num_queries: of each, beside the one a step by which `smoothed` judges itself.
    stop_at_success: whether `smoothed` ends at the first success; the others always do.

  Returns:
    An `Attack` that hands in an image of the ball after `num_steps` steps, and `smoothed`
    after one more, which judges where they led.

  Raises:
    ValueError: there is no such search.
  """
  steps = num_steps(search, usual_steps, num_queries)
  if search == "square":
    attack = attacks.square(
      objective, radius=radius, window_share=_WINDOW_SHARE, horizon=num_queries
    )
    return attacks.in_rounds(attack, num_steps=steps, num_rounds=1)
  if search == "rays":
    attack = attacks.within(attacks.rays(objective, radius=radius), radius)
    return attacks.in_rounds(attack, num_steps=steps, num_rounds=1)
  if search == "smoothed":
    attack = attacks.pgd(
      objective,
      estimators.nes(num_pairs=_num_pairs(usual_steps, num_queries), smoothing=radius / 2),
      radius=radius,
      step_size=step_size,
      start=attacks.uniform(radius),
    )
    attack = attacks.in_rounds(attack, num_steps=steps + 1, num_rounds=1)
    return attacks.until_success(attack) if stop_at_success else attack
  raise ValueError(f"there is no search {search!r}: choose one of {', '.join(SEARCHES)}")
