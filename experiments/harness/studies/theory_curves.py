"""The paper's closed forms, as printed and corrected, beside Monte Carlo: curves and a table.

Each function takes a NumPy generator and a number of draws; JAX must compute in float64.
"""

import math

import jax.numpy as jnp
import numpy as np

from harness.report import tables
from orjax import objectives
from orjax import records
from orjax import theory


def _answer(margin, num_classes):
  """Probabilities with tied rivals `margin` below the top."""
  rest = (1 - margin) / num_classes
  return np.r_[rest + margin, np.full(num_classes - 1, rest)].astype(np.float32)


def figure_1b(rng, num_draws):
  """Allowed variance against the wanted rate, and what error it gives."""
  rates = np.geomspace(1e-3, 0.4, 60)
  curves, rows = [], []
  for margin in (0.1, 0.5, 1.0):
    curves.append(
      (
        margin,
        rates,
        *(np.square(theory.allowed_stddev(margin, rates, as_printed=p)) for p in (True, False)),
      )
    )
  noise = rng.normal(size=num_draws) * math.sqrt(2)
  for margin, rate in ((1.0, 0.01), (0.5, 0.01), (0.5, 0.05), (0.1, 0.01), (0.9, 0.1), (0.9, 0.2)):
    row = [f"{margin:g}", f"{rate:g}"]
    for as_printed in (True, False):
      stddev = float(theory.allowed_stddev(margin, rate, as_printed=as_printed))
      count = int((stddev * noise > margin).sum())
      low, high = records.wilson(count, num_draws)
      row += [f"{stddev**2:.4g}", f"{count / num_draws:.4f} [{low:.4f}, {high:.4f}]"]
    rows.append(row)
  return curves, tables.markdown(
    [
      "margin",
      "wanted rate",
      "variance as printed",
      "measured error",
      "variance corrected",
      "measured error",
    ],
    rows,
  )


def misclassification(rng, num_draws):
  """Exact, single-rival and union rates against Monte Carlo, over stddev."""
  stddevs = np.geomspace(0.05, 1, 25)
  panels = []
  for num_classes in (10, 1000):
    probs = _answer(0.9, num_classes)
    draws = max(1000, num_draws * 10 // (num_classes * 20))
    noise = rng.normal(size=(draws, num_classes)).astype(np.float32)
    counts = [int(((probs + s * noise).argmax(-1) != 0).sum()) for s in stddevs]
    panels.append(
      {
        "num_classes": num_classes,
        "stddevs": stddevs,
        "num_draws": draws,
        "measured": np.array(counts) / draws,
        "interval": np.array([records.wilson(c, draws) for c in counts]),
        "exact": np.array([theory.exact_misclassification_rate(probs, s) for s in stddevs]),
        "one rival": np.asarray(theory.misclassification_rate(0.9, stddevs)),
        "one rival, as printed": np.asarray(
          theory.misclassification_rate(0.9, stddevs, as_printed=True)
        ),
        "union bound": np.array([theory.union_bound(probs, s) for s in stddevs]),
      }
    )
  return panels


def slope_errors(rng, num_draws):
  """Bias and standard deviation over h and over stddev; p_c = 0.6, p_o = 0.3 between."""

  def at(spacing):  # slopes of 1 and -0.5
    return (
      (np.float64(0.6 + spacing), np.float64(0.3 - spacing / 2)),
      (np.float64(0.6 - spacing), np.float64(0.3 + spacing / 2)),
    )

  def measure(stddev, spacing):
    noisy = [p + stddev * rng.normal(size=num_draws) for pair in at(spacing) for p in pair]
    logs = [np.log(np.maximum(x, 0) + objectives.LOG_FLOOR) for x in noisy]
    slopes = (logs[0] - logs[1] - logs[2] + logs[3]) / (2 * spacing)
    return slopes.std(), np.subtract(*(np.log(p[0] / p[1]) for p in at(spacing))) / 2 / spacing

  panels = []
  for name, values, setting in (
    ("h", np.geomspace(1e-4, 0.2, 12), lambda h: (0.01, h)),
    ("stddev", np.geomspace(1e-3, 0.3, 12), lambda s: (s, 0.1)),
  ):
    found = {
      k: []
      for k in (
        "bias, exact",
        "bias, second order",
        "bias, as printed",
        "deviation, exact",
        "deviation, measured",
        "deviation, linear margin",
        "true slope",
      )
    }
    for stddev, spacing in map(setting, values):
      plus, minus = at(spacing)
      bias, deviation = theory.log_slope_error(plus, minus, stddev, spacing)
      measured, slope = measure(stddev, spacing)
      expanded = [
        theory.expanded_log_slope_bias(plus, minus, stddev, spacing, as_printed=p)
        for p in (False, True)
      ]
      margin = theory.margin_slope_error(stddev, spacing)[1]
      for key, value in zip(found, (abs(bias), *expanded, deviation, measured, margin, abs(slope))):
        found[key].append(float(value))
    panels.append((name, values, found))
  return panels


def training_loss(rng, num_draws):
  """Excess loss of noisy training over stddev, and its expansions."""
  logits = np.zeros(10)
  logits[0] = 3.0
  stddevs = np.geomspace(0.05, 100, 30)
  noise = rng.normal(size=(num_draws // 10, 10))
  noise = np.concatenate([noise, -noise])
  clean = float(np.log(np.exp(logits).sum()) - logits[0])

  def excess(stddev):
    z = logits + stddev * noise
    top = z.max(-1)
    return (top + np.log(np.exp(z - top[:, None]).sum(-1)) - z[:, 0]).mean() - clean

  identity = jnp.eye(10)
  quadratic = [
    float(theory.training_regulariser(jnp.asarray(logits), identity, as_printed=p))
    for p in (True, False)
  ]
  return stddevs, {
    "measured": np.array([excess(s) for s in stddevs]),
    "as printed": quadratic[0] * stddevs**2,
    "corrected": quadratic[1] * stddevs**2,
    "large noise": np.array(
      [float(theory.asymptotic_training_loss(jnp.asarray(logits), 0, s)) - clean for s in stddevs]
    ),
  }
