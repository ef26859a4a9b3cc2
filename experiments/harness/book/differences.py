"""Figures about ZOO's steps: their size, the losses they see, the error of their gradients."""

from harness.book.evidence import in_json
from harness.book.evidence import mean
from harness.book.evidence import success
from harness.book.rows import Claim
from harness.book.rows import Row
from harness.book.rows import Run

_TINY_ZOO = "blackbox_attacks --trade_off=3 --binary_search_steps=1 --max_steps=60"
_PAPER = "--num_images=100 --num_runs=30"


def _error(strength):
  """Reads the error of ZOO's gradients at the images through noise, from Figure 9's study."""

  def choose(content):
    variances = content["variances"]
    place = min(range(len(variances)), key=lambda i: abs(variances[i] - strength))
    return mean(content["errors"]["at the image"]["linear margin, h = 0.0001"]["errors"][place])

  return in_json("errors", "gradient_error.json", choose)


FIGURE_7 = Row(
  "figure7",
  "ZOO's step h, without noise and at variance 0.01",
  "A larger h raises success through the noise slightly, and lowers it significantly without.",
  {
    "tiny": (
      Run(
        "spacings",
        f"{_TINY_ZOO} --num_images=3 --variance=0 --variance=1e-2 --spacing=1e-4 --spacing=1",
        0.8,
      ),
    ),
    "cpu": (
      Run(
        "spacings",
        "blackbox_attacks --flagfile=experiments/flagfiles/figure7.flags --slots_per_device=50",
        120,
        "figure7_mnist/spacings_50",
      ),
    ),
    "paper": (
      Run(
        "spacings",
        "blackbox_attacks --dataset=mnist --variance=0 --variance=1e-2 --spacing=1e-4 "
        f"--spacing=1e-3 --spacing=1e-2 --spacing=1e-1 --spacing=1 {_PAPER}",
        900,
      ),
    ),
  },
  (
    Claim(
      "success without noise at h = 1",
      success("spacings", strength=0.0, spacing=1.0),
      None,
      success("spacings", strength=0.0, spacing=1e-4),
      "lower",
    ),
    Claim(
      "success at variance 0.01 at h = 1",
      success("spacings", strength=1e-2, spacing=1.0),
      None,
      success("spacings", strength=1e-2, spacing=1e-4),
      "higher",
    ),
  ),
)

FIGURE_8 = Row(
  "figure8",
  "The loss of one trial of ZOO at variance 0.01",
  "The loss is erratic, and the attack stops early.",
  {
    "tiny": (
      Run("loss", f"{_TINY_ZOO} --num_images=1 --trace=1 --variance=0 --variance=1e-2", 0.4),
    ),
    "cpu": (
      Run(
        "loss",
        "blackbox_attacks --flagfile=experiments/flagfiles/figure8.flags",
        2,
        "figure8_mnist",
      ),
    ),
    "paper": (
      Run(
        "loss",
        "blackbox_attacks --dataset=mnist --variance=0 --variance=1e-2 --num_images=1 --trace=1",
        5,
      ),
    ),
  },
  (
    Claim(
      "success at variance 0.01",
      success("loss", strength=1e-2),
      None,
      success("loss", strength=0.0),
      "lower",
    ),
  ),
)

FIGURE_9 = Row(
  "figure9",
  "The error of ZOO's finite differences against the variance",
  "The error grows dramatically with the noise.",
  {
    "tiny": (Run("errors", "gradient_error --num_images=3", 0.3),),
    "cpu": (Run("errors", "gradient_error --dataset=mnist", 1, "figure9_mnist"),),
    "paper": (Run("errors", "gradient_error --dataset=mnist --num_images=100", 2),),
  },
  (
    Claim(
      "error of the gradient at variance 1e-2, beside 1e-6 (linear margin)",
      _error(1e-2),
      None,
      _error(1e-6),
      "higher",
    ),
  ),
)

ROWS = (FIGURE_7, FIGURE_8, FIGURE_9)
