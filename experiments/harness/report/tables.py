"""Tables of a folder of records, and the cells of all tables."""

from collections.abc import Sequence
import math
import os

import numpy as np

from harness.report import ledgers
from orjax import records

TRIES = 10  # of one image at the server
_MOSTLY = 0.5  # of the steps: an attack that was blind that often says little


def rate(summary: dict, name: str) -> str:
  """A rate with its 95 % interval, and the standard error over runs if there are any."""
  text = interval(summary[name], *summary[f"{name}_interval"], digits=2)
  error = summary.get(f"{name}_run_error")
  return text if error is None else f"{text} ±{error:.3f}"


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
  """A number and its interval."""
  return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def distance(summary: dict) -> str:
  """The mean and the largest l2 of clean successes."""
  return "-" if summary["l2"] is None else f"{summary['l2']:.2f} ({summary['max_l2']:.2f})"


def resubmitted(rates: Sequence[float]) -> float:
  """How often one of `TRIES` tries is a success, of images with these rates of a single one."""
  return float((1 - (1 - np.asarray(rates, np.float64)) ** TRIES).mean())


def markdown(header: list[str], rows: list[list[str]]) -> str:
  """Aligned Markdown."""
  widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
  line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
  rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
  return "\n".join([line(header), rule, *map(line, rows)])


def accuracy_under_attack(summary: dict, accuracy: float) -> tuple[float, float, float]:
  """Share of all images that stay right, and its interval: those right, less those that fall.

  By fresh answers of the network as it is at test time, which may be random.
  """
  low, high = summary["defended_success_rate_interval"]
  return tuple(accuracy * (1 - x) for x in (summary["defended_success_rate"], high, low))


def attacks(directory: str | os.PathLike) -> str:
  """Success against the strength of the defense, every kind of success in its own column.

  What a sweep varies besides gets a column each: the defense, answers averaged, the numbers
  of the setting; white-box PGD has the accuracy under attack. "Blind steps" is the share of
  steps that learnt nothing from the answers; below the table stands where that misleads. "Of 10
  tries" is how often one of so many fresh answers to the same image is a success. Attackers who
  measure first have a second table, of what they chose.
  """
  ledger = ledgers.load(directory)
  names = ledgers.varied(ledger.records, "defense", "num_samples")
  white_box = ledgers.is_white_box(ledger)
  keys = ("attack", "targeted", *names, "strength")
  groups = ledgers.grouped(ledger.records, *keys)
  if not white_box:  # those come in the order of the sweep
    groups.sort(key=lambda members: [_order(ledgers.value(members[0], key)) for key in keys])
  header = [
    "attack",
    "targeted",
    *("samples" if name == "num_samples" else name for name in names),
    ledger.axis,
    "trials",
    "accuracy",
    "claimed",
    "clean success",
    "defended success",
    f"of {TRIES} tries",
    "noise-only error",
    "mean l2 (max)",
    "median steps",
    "median queries",
    "blind steps",
    *(["accuracy under attack"] if white_box else []),
  ]
  table = markdown(header, [_row(ledger, keys, white_box, members) for members in groups])
  # --diagnose has a verdict that knows of it.
  said = [] if ledger.request.get("diagnose") else _blind_sentences(ledger, keys, groups)
  return "\n\n".join([table, *said, *_chosen(ledger, keys, groups)])


def _order(value):
  """A key that sorts whatever a setting holds: numbers first."""
  is_number = isinstance(value, (int, float))
  return not is_number, value if is_number else 0, str(value)


def _row(ledger, keys, white_box, members):
  summary = records.summarise(members)
  accuracy = ledgers.accuracy(ledger, members[0]["strength"])["accuracy"]
  row = [
    *(ledgers.show(ledgers.value(members[0], key)) for key in keys),
    str(summary["num_trials"]),
    f"{accuracy:.4f}",
    rate(summary, "claimed"),
    rate(summary, "clean_success"),
    rate(summary, "defended_success_rate"),
    f"{resubmitted([r['defended_success_rate'] for r in members]):.2f}",
    rate(summary, "noise_error_rate"),
    distance(summary),
    f"{summary['median_steps']:.0f}",
    f"{summary['median_queries']:.0f}",
    _blind_steps(summary),
  ]
  if white_box:
    row.append(interval(*accuracy_under_attack(summary, accuracy)))
  return row


def _chosen(ledger, keys, groups):
  """What attackers who measure first chose by it, and what the table says; nothing of others."""
  begun = [
    [r["chosen"] for r in members if any(r.get("chosen", {}).values())] for members in groups
  ]
  names = list(dict.fromkeys(name for found in begun for chosen in found for name in chosen))
  if not names:
    return []

  def cell(found, name):
    values = [chosen[name] for chosen in found if name in chosen]
    if not values:
      return "-"
    is_count = all(isinstance(x, bool) for x in values)
    return str(sum(values)) if is_count else f"{np.median(values):.2g}"

  shown = [[ledgers.show(ledgers.value(members[0], key)) for key in keys] for members in groups]
  rows = [
    [*row, str(len(found)), *(cell(found, name) for name in names)]
    for row, found in zip(shown, begun)
  ]
  header = [*(ledger.axis if key == "strength" else key for key in keys), "chose", *names]
  said = "What was chosen by what was measured: in how many trials, or the median of a number."
  return [markdown(header, rows), said]


def is_blind(summary: dict) -> bool:
  """Whether an attack failed whose steps mostly learnt nothing: no evidence of robustness."""
  return summary["zero_gradients"] > _MOSTLY and summary["clean_success"] < _MOSTLY


def _blind_steps(summary: dict) -> str:
  """The share of steps that learnt nothing, for a table."""
  found = summary["zero_gradients"]
  return "-" if math.isnan(found) else f"{found:.3f}"


def _blind_sentences(
  ledger: ledgers.Ledger, keys: tuple[str, ...], groups: list[list[dict]]
) -> list[str]:
  """A sentence for each attack that failed and was blind in most steps: no evidence."""
  found: dict[str, list[str]] = {}
  for members in groups:
    summary = records.summarise(members)
    if is_blind(summary):
      found.setdefault(members[0]["attack"], []).append(_where(ledger, keys, members[0], summary))
  return [
    f"**Blind:** most steps of {attack} learnt nothing from the answers at {'; '.join(places)}. "
    f"That it fails there is no evidence of robustness: {_advice(attack)}."
    for attack, places in found.items()
  ]


def _where(ledger, keys, record, summary):
  names = (key for key in keys if key not in ("attack", "targeted", "strength"))
  strength = f"{ledger.axis} {ledgers.show(record['strength'])}"
  others = [f"{name} {ledgers.show(ledgers.value(record, name))}" for name in names]
  return (
    f"{', '.join([strength, *others])} "
    f"({summary['zero_gradients']:.2f} of them, clean success {summary['clean_success']:.2f})"
  )


def _advice(attack):
  if attack == "pgd":
    return "--diagnose tries what needs no gradient"
  if attack in ("carlini_wagner", "apgd"):
    return "try an attack that needs no gradient, such as blackbox_attacks.py --attack=rays"
  return (
    "try longer probes (--spacing, --smoothing), and an attack on labels, such as --attack=rays"
  )
