"""What is computed from records: rates, their intervals, costs."""

from collections.abc import Iterable
import math
from typing import Any

import numpy as np

from orjax.records.fields import check

_SUMMARISED = (
  "run",
  "claimed",
  "clean_success",
  "defended_success_rate",
  "noise_error_rate",
  "num_steps",
  "num_queries",
  "l2",
  "zero_gradients",
)


def wilson(num_successes: float, num_trials: int, z: float = 1.959964) -> tuple[float, float]:
  """Wilson's score interval of a rate, 95 % by default; (0, 1) of no trials.

  Raises:
    ValueError: the numbers are no successes of so many trials, or z is not positive.
  """
  if not 0 <= num_successes <= num_trials or not num_trials < math.inf:
    raise ValueError(
      f"{num_successes} successes of {num_trials} trials are no rate: pass from 0 to all of them"
    )
  if not 0 < z < math.inf:
    raise ValueError(f"z must be positive and finite, not {z}: pass 1.96 for 95 %")
  if num_trials == 0:
    return 0.0, 1.0
  rate = num_successes / num_trials
  scale = 1 + z**2 / num_trials
  center = (rate + z**2 / (2 * num_trials)) / scale
  half = z / scale * np.sqrt(rate * (1 - rate) / num_trials + z**2 / (4 * num_trials**2))
  return max(0.0, float(center - half)), min(1.0, float(center + half))


def run_error(values: Iterable[float], runs: Iterable[int]) -> float | None:
  """Standard error over runs of the runs' means; None of a single run.

  Raises:
    ValueError: there is not one run a value, or a value is not finite.
  """
  values, runs = np.asarray(list(values), float), np.asarray(list(runs))
  if values.shape != runs.shape or values.ndim != 1:
    raise ValueError(
      f"{len(values)} values and {len(runs)} runs do not go together: pass the run of each value"
    )
  if not np.isfinite(values).all():
    raise ValueError("a value is NaN or infinite: leave its trial out, or see what made it")
  means = [values[runs == run].mean() for run in np.unique(runs)]
  if len(means) < 2:
    return None
  return float(np.std(means, ddof=1) / np.sqrt(len(means)))


def group(records: Iterable[dict], *names: str) -> dict[tuple, list[dict]]:
  """Records by their values of some fields, in the order of those values."""
  groups: dict[tuple, list[dict]] = {}
  for record in records:
    groups.setdefault(tuple(record[name] for name in names), []).append(record)
  return dict(sorted(groups.items()))


def summarise(records: list[dict]) -> dict:
  """Rates, intervals and costs of records of one setting.

  Returns:
    A dict with `num_trials`; for each of `claimed`, `clean_success`: the rate, its
    `_interval` (Wilson) and `_run_error`; the means `defended_success_rate` and
    `noise_error_rate` with `_interval` (Wilson over trials); `l2` and `max_l2`, over clean
    successes, and `zero_gradients`, `median_steps` and `median_queries`.

  Raises:
    ValueError: there is no record, or one lacks what is summarised or has nonsense there.
  """
  if not records:
    raise ValueError("there are no records to summarise: run the attack first")
  for number, record in enumerate(records, 1):
    try:
      check(record, _SUMMARISED)
    except ValueError as e:
      raise ValueError(f"record {number} cannot be summarised: {e}") from e
  summary: dict[str, Any] = {"num_trials": len(records)}
  runs = [record["run"] for record in records]
  for name in ("claimed", "clean_success"):
    values = [record[name] for record in records]
    summary[name] = float(np.mean(values))
    summary[f"{name}_interval"] = wilson(sum(values), len(values))
    summary[f"{name}_run_error"] = run_error(values, runs)
  for name in ("defended_success_rate", "noise_error_rate"):
    total = float(np.sum([record[name] for record in records]))
    summary[name] = total / len(records)
    # Conservative: each trial's share counts as one yes-or-no answer, not as many.
    summary[f"{name}_interval"] = wilson(total, len(records))
  distances = [record["l2"] for record in records if record["clean_success"]]
  summary["l2"] = float(np.mean(distances)) if distances else None
  summary["max_l2"] = max(distances) if distances else None
  # Ledgers written before it was measured have none.
  shares = [record.get("zero_gradients", np.nan) for record in records]
  summary["zero_gradients"] = float(np.mean(shares))
  summary["median_steps"] = float(np.median([r["num_steps"] for r in records]))
  summary["median_queries"] = float(np.median([r["num_queries"] for r in records]))
  return summary
