"""Draws the paper's closed forms, as printed and corrected, against Monte Carlo.

    python experiments/theory_figures.py

Figure 1b; misclassification rates; bias and standard deviation of an estimated slope;
the loss of noisy training. Needs no classifier. Writes figures and table.md to --out.
"""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from harness import app
from harness import request
from harness.report.figures import theory
from harness.request import Option
from harness.studies import theory_curves
from orjax import files
from orjax import records

OPTIONS = [
  app.out("runs/theory_figures"),
  app.SEED,
  Option(
    "num_draws",
    "integer",
    1_000_000,
    "Monte-Carlo draws per point",
    request.HOW_MUCH,
    low=1000,
    high=10**9,
  ),
]


class TheoryRequest(NamedTuple):
  """Where to draw, and how many Monte-Carlo draws from which seed."""

  out: str
  seed: int
  num_draws: int


def read(values: request.Values) -> TheoryRequest:
  """The request that the flags make."""
  return TheoryRequest(values["out"], values["seed"], values["num_draws"])


def main(asked: TheoryRequest) -> None:
  """Draws all of them."""
  jax.config.update("jax_enable_x64", True)  # slopes at h = 1e-4 are small differences
  records.make_folder(asked.out)
  out = pathlib.Path(asked.out)
  draws = np.random.default_rng(asked.seed), asked.num_draws
  curves, table = theory_curves.figure_1b(*draws)
  theory.figure_1b(curves, out / "figure1b.png")
  theory.misclassification(theory_curves.misclassification(*draws), out / "misclassification.png")
  theory.slope_errors(theory_curves.slope_errors(*draws), out / "slope_errors.png")
  theory.training_loss(*theory_curves.training_loss(*draws), out / "training_loss.png")
  print(table)
  files.write_text(
    out / "table.md", f"{table}\n\n{asked.num_draws} draws a row; 95 % Wilson intervals.\n"
  )
  print(f"figures: {out}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
