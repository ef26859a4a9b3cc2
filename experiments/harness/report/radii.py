"""Success at a fixed distance: a rate without a radius says little of an attack that starts far."""

from orjax import records


def success_within(trials: list[dict], radius: float) -> tuple[float, float, float]:
  """The share of trials that fool the undefended network within an l2 distance.

  Of what each trial handed in: an attack that minimises the distance may have stopped short
  of a radius that it could reach, or have gone on beyond one.

  Args:
    trials: records of one setting.
    radius: in l2, units of [0, 1].

  Returns:
    The rate and its 95 % Wilson interval.

  Raises:
    ValueError: there are no trials, or the radius is not positive.
  """
  if not trials:
    raise ValueError("there are no records to count: run the attack first")
  if not radius > 0:
    raise ValueError(f"radius must be above 0, not {radius}")
  found = sum(record["clean_success"] and record["l2"] <= radius for record in trials)
  return found / len(trials), *records.wilson(found, len(trials))
