"""Attacks that learnt nothing from the answers: their failure is no evidence of robustness."""

import math

from harness.report import ledgers
from harness.report.ledgers import Ledger
from orjax import records

_MOST = 0.5


def share(summary: dict) -> str:
  """The share of steps that learnt nothing, for a table."""
  found = summary["zero_gradients"]
  return "-" if math.isnan(found) else f"{found:.3f}"


def sentences(ledger: Ledger, keys: tuple[str, ...], groups: list[list[dict]]) -> list[str]:
  """What must be said of attacks that were mostly blind and failed, a sentence an attack.

  Args:
    ledger: where the records are from.
    keys: what tells the groups apart.
    groups: of records.
  """
  found: dict[str, list[str]] = {}
  for members in groups:
    summary = records.summarise(members)
    if summary["zero_gradients"] > _MOST and summary["clean_success"] < _MOST:
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
  if attack == "carlini_wagner":
    return "try an attack that needs no gradient, such as blackbox_attacks.py --attack=rays"
  return (
    "try longer probes (--spacing, --smoothing), and an attack on labels, such as --attack=rays"
  )
