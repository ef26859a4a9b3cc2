"""Queries that a law predicts, beside those that attacks used, from their ledgers."""

import math

import numpy as np

from harness.report import panel
from harness.report import tables
from harness.report.ledgers import Ledger


def row(ledger: Ledger, indices: list[int], strength: float, predicted: np.ndarray) -> dict:
  """What the report says of an attack at one strength.

  An attack ends at its first claim. What it would have needed where a claim was false is not
  known: such images are counted, and left out of the queries used.

  Args:
    ledger: of the attack.
    indices: images that are looked at [N].
    strength: of the defense.
    predicted: queries [N], infinite where the law finds no step.
  """
  wanted = set(indices)
  trials = [r for r in ledger.records if r["strength"] == strength and r["index"] in wanted]
  honest = [r for r in trials if r["clean_success"] or not r["claimed"]]
  used = [r["num_queries"] if r["clean_success"] else math.inf for r in honest]
  return {
    "attack": ", ".join(panel.name(ledger)),
    "strength": strength,
    "axis": ledger.axis,
    "num_images": len(indices),
    "false_claims": 1 - len(honest) / len(trials),
    "predicted": _quartiles(predicted),
    "used": _quartiles(used) if honest else [None] * 3,
    "spent": max((r["num_queries"] for r in honest), default=None),
  }


def _quartiles(values):
  """Quartiles, None where they are infinite: as soon as half of the images count as such."""
  found = np.quantile(np.asarray(values, float), (0.25, 0.5, 0.75), method="higher")
  return [float(x) if np.isfinite(x) else None for x in found]


def table(rows: list[dict]) -> str:
  """Rows of `row` as Markdown, with what is to be known of them."""
  header = ["attack", rows[0]["axis"], "predicted queries", "used", "ratio", "false claims"]
  body = [
    [
      each["attack"],
      f"{each['strength']:g}",
      _many(each["predicted"]),
      _many(each["used"]),
      _ratio(each["predicted"][1], each["used"][1]),
      f"{each['false_claims']:.2f}",
    ]
    for each in rows
  ]
  note = (
    f"Median and quartiles over {rows[0]['num_images']} images; - is infinite: a prediction where "
    "by the slope at the image no step of the ball is enough, or an image that did not fall. The "
    "ratio is that of the medians. Images that were claimed and do not fool the undefended model "
    "are the false claims; what they would have needed is not known, and not among the used."
  )
  return "\n\n".join([tables.markdown(header, body), note])


def _text(value):
  return "-" if value is None else f"{float(f'{value:.3g}'):.0f}"  # three digits, no exponent


def _many(quartiles):
  low, median, high = map(_text, quartiles)
  return f"{median} [{low}, {high}]"


def _ratio(predicted, used):
  return "-" if predicted is None or used is None else f"{predicted / used:.2g}"
