"""Queries that a law predicts, beside those that attacks used, from their ledgers."""

import math

import numpy as np

from harness.report import panel
from harness.report import tables
from harness.report.ledgers import Ledger


def row(ledger: Ledger, indices: list[int], strength: float, predicted: np.ndarray) -> dict:
  """What the report says of an attack at one strength.

  Args:
    ledger: of the attack.
    indices: images that are looked at [N].
    strength: of the defense.
    predicted: queries [N], infinite where the law finds no step.
  """
  wanted = set(indices)
  trials = [r for r in ledger.records if r["strength"] == strength and r["index"] in wanted]
  used = [r["num_queries"] if r["clean_success"] else math.inf for r in trials]
  return {
    "attack": ", ".join(panel.name(ledger)),
    "strength": strength,
    "axis": ledger.axis,
    "num_images": len(indices),
    "success": sum(r["clean_success"] for r in trials) / len(trials),
    "budget": ledger.request["max_queries"],
    "predicted": _quartiles(predicted),
    "used": _quartiles(used),
  }


def _quartiles(values):
  """Quartiles, None where they are infinite."""
  found = np.quantile(np.asarray(values, float), (0.25, 0.5, 0.75), method="nearest")
  return [float(x) if np.isfinite(x) else None for x in found]


def table(rows: list[dict]) -> str:
  """Rows of `row` as Markdown, with what is to be known of them."""
  header = ["attack", rows[0]["axis"], "predicted queries", "used", "ratio", "success"]
  body = [
    [
      each["attack"],
      f"{each['strength']:g}",
      _many(each["predicted"]),
      _many(each["used"]),
      _ratio(each["predicted"][1], each["used"][1]),
      f"{each['success']:.2f}",
    ]
    for each in rows
  ]
  note = (
    f"Median and quartiles over {rows[0]['num_images']} images; - is infinite: a prediction where "
    "by the slope at the image no step of the ball is enough, or an image that did not fall "
    f"within {rows[0]['budget']} queries. The ratio is that of the medians."
  )
  return "\n\n".join([tables.markdown(header, body), note])


def _text(value):
  return "-" if value is None else f"{value:.3g}"


def _many(quartiles):
  low, median, high = map(_text, quartiles)
  return f"{median} [{low}, {high}]"


def _ratio(predicted, used):
  return "-" if predicted is None or used is None else f"{predicted / used:.2g}"
