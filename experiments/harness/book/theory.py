"""Figure 1b and section 5.1: what noise a classifier affords."""

from harness.book.evidence import in_json
from harness.book.rows import Claim
from harness.book.rows import Measured
from harness.book.rows import Row
from harness.book.rows import Run


def _measured_rate(content):
  found = next(each for each in content["found"] if not each["per_image"])
  share = found["num_changed"] / found["num_images"]
  low, high = found["interval"]
  return Measured(share, low, high, found["num_images"])


FIGURE_1B = Row(
  "figure1b",
  "The variance that a wanted misclassification rate allows",
  "A closed form bounds the variance for a margin and a rate.",
  {
    "tiny": (Run("theory", "theory_figures --num_draws=20000", 0.3),),
    "cpu": (Run("theory", "theory_figures", 1, "figure1b_theory"),),
    "paper": (Run("theory", "theory_figures", 1),),
  },
  (),
)
CALIBRATION = Row(
  "calibration",
  "Section 5.1: noise calibrated to a misclassification rate of 0.01",
  "The noise can be chosen to give a wanted misclassification rate.",
  {
    "tiny": (Run("rate", "calibrate --misclassification_rate=0.01", 0.2),),
    "cpu": (
      Run(
        "rate",
        "calibrate --dataset=mnist --misclassification_rate=0.01 --misclassification_rate=0.05",
        2,
        "calibrate_mnist",
      ),
    ),
    "paper": (Run("rate", "calibrate --dataset=mnist --misclassification_rate=0.01", 2),),
  },
  (
    Claim(
      "share of answers that the calibrated noise changes",
      in_json("rate", "calibration.json", _measured_rate),
      0.01,
    ),
  ),
)

ROWS = (FIGURE_1B, CALIBRATION)
