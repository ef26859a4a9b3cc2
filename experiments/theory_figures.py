"""Draws the paper's closed forms, as printed and corrected, against Monte Carlo.

    python experiments/theory_figures.py

Figure 1b; misclassification rates; bias and standard deviation of an estimated slope;
the loss of noisy training. Needs no classifier. Writes figures and table.md to --out.
"""

import pathlib

from absl import flags
import common
import jax
import numpy as np
import plot_theory
import theory_curves

from orjax import records

_OUT = flags.DEFINE_string("out", "runs/theory_figures", "Folder for the figures.")
_NUM_DRAWS = flags.DEFINE_integer(
  "num_draws", 1_000_000, "Monte-Carlo draws per point.", lower_bound=1000
)


def main():
  jax.config.update("jax_enable_x64", True)  # slopes at h = 1e-4 are small differences
  records.make_folder(_OUT.value)
  out, rng = pathlib.Path(_OUT.value), np.random.default_rng(common.SEED.value)
  draws = rng, _NUM_DRAWS.value
  curves, table = theory_curves.figure_1b(*draws)
  plot_theory.figure_1b(curves, out / "figure1b.png")
  plot_theory.misclassification(
    theory_curves.misclassification(*draws), out / "misclassification.png"
  )
  plot_theory.slope_errors(theory_curves.slope_errors(*draws), out / "slope_errors.png")
  plot_theory.training_loss(*theory_curves.training_loss(*draws), out / "training_loss.png")
  print(table)
  (out / "table.md").write_text(
    f"{table}\n\n{_NUM_DRAWS.value} draws a row; 95 % Wilson intervals.\n"
  )
  print(f"figures: {out}")


if __name__ == "__main__":
  common.run(main)
