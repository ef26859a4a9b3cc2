"""Figures of the closed forms and of gradient errors, from arrays."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

from harness.report.figures import style


def figure_1b(curves, path: pathlib.Path) -> None:
  """Allowed variance against the wanted rate: (margin, rates, printed, corrected)."""
  figure, ax = plt.subplots(figsize=(5.6, 3.8))
  for number, (margin, rates, printed, corrected) in enumerate(curves):
    ax.plot(
      rates, printed, color=f"C{number}", linestyle="--", label=f"margin {margin:g}, as printed"
    )
    ax.plot(rates, corrected, color=f"C{number}", label=f"margin {margin:g}, corrected")
  ax.axvline(0.159, color="0.8", linewidth=1, zorder=0)
  ax.set(
    xscale="log",
    yscale="log",
    xlabel="misclassification rate (one rival)",
    ylabel="largest variance",
    title="Figure 1b: allowed noise variance",
  )
  ax.legend(fontsize=7)
  style.save(figure, path)


def misclassification(panels, path: pathlib.Path) -> None:
  """Rates over stddev, one panel per number of classes."""
  figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.8), squeeze=False)
  looks = {"exact": "-", "one rival": ":", "one rival, as printed": "--", "union bound": "-."}
  for ax, panel in zip(axes.flat, panels):
    for number, (name, look) in enumerate(looks.items()):
      ax.plot(panel["stddevs"], panel[name], look, color=f"C{number}", label=name)
    error = np.abs(panel["interval"].T - panel["measured"])
    ax.errorbar(
      panel["stddevs"],
      panel["measured"],
      error,
      fmt="k.",
      markersize=4,
      label=f"measured ({panel['num_draws']} draws)",
    )
    ax.set(
      xscale="log",
      ylim=(-0.03, 1.03),
      xlabel="stddev",
      ylabel="misclassified",
      title=f"{panel['num_classes']} classes, all rivals 0.9 below the top",
    )
    ax.legend(fontsize=7)
  style.save(figure, path)


def _look(label):
  """Of a curve of `slope_errors`."""
  looks = {"measured": "k.", "printed": "--", "slope": ":"}
  return next((look for word, look in looks.items() if word in label), "-")


def slope_errors(panels, path: pathlib.Path) -> None:
  """Bias and standard deviation of an estimated slope, over h and over stddev."""
  figure, axes = plt.subplots(1, len(panels), figsize=(5.4 * len(panels), 4), squeeze=False)
  for ax, (name, values, found) in zip(axes.flat, panels):
    for number, (label, curve) in enumerate(found.items()):
      color = {} if "measured" in label else {"color": f"C{number}"}
      ax.plot(values, curve, _look(label), label=label, **color)
    ax.set(
      xscale="log",
      yscale="log",
      xlabel=name,
      ylabel="absolute value",
      title=f"slope of log p_c - log p_o over {name} ({'stddev 0.01' if name == 'h' else 'h 0.1'})",
    )
    ax.legend(fontsize=7)
  style.save(figure, path)


def training_loss(stddevs, found, path: pathlib.Path) -> None:
  """Excess training loss over the stddev of the noise on the logits."""
  figure, ax = plt.subplots(figsize=(5.6, 3.8))
  looks = {"measured": "k.", "as printed": "--", "corrected": "-", "large noise": ":"}
  for label, look in looks.items():
    ax.plot(stddevs, found[label], look, label=label)
  ax.set(
    xscale="log",
    yscale="log",
    xlabel="stddev of the noise on the logits",
    ylabel="excess of the expected loss",
    ylim=(1e-4, None),
    title="10 classes, true logit 3 above the rest",
  )
  ax.legend(fontsize=8)
  style.save(figure, path)


def gradient_errors(variances, found, title, path: pathlib.Path) -> None:
  """Figure 9: error norm over variance; one panel per place, one curve per estimator.

  Args:
    variances: above 0.
    found: {place: {estimator: (error norms [variance, image], true norms [image])}}.
    title: of the figure.
    path: of the file.
  """
  figure, axes = plt.subplots(
    1, len(found), figsize=(5.4 * len(found), 4), sharey=True, squeeze=False
  )
  for ax, (place, curves) in zip(axes.flat, found.items()):
    for number, (name, (errors, true)) in enumerate(curves.items()):
      ax.plot(variances, errors.mean(1), color=f"C{number}", marker="o", label=name)
      ax.fill_between(
        variances, *np.quantile(errors, [0.1, 0.9], axis=1), color=f"C{number}", alpha=0.15
      )
      ax.axhline(np.mean(true), color=f"C{number}", linestyle=":", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="noise variance", title=f"{title}, {place}")
    ax.legend(fontsize=7)
  axes[0, 0].set_ylabel("l2 norm of the error (dotted: of the gradient)")
  style.save(figure, path)


def query_law(rows: list[dict], path: pathlib.Path) -> None:
  """Queries that the law predicts over those that attacks used, a point each.

  Open and pointing down where most images did not fall within what was spent, so that the ratio
  is less than that; pointing up, above the frame, what the law finds no step for, open where indeed
  most images did not fall. What was mostly claimed falsely has no point.
  """
  names = list(dict.fromkeys(row["attack"] for row in rows))
  strengths = sorted({row["strength"] for row in rows})
  honest = [row for row in rows if row["false_claims"] < 0.5]
  figure, ax = plt.subplots(figsize=(1.1 * len(names) + 2.4, 3.8))
  ax.axhline(1, color="0.8", zorder=0)
  for number, strength in enumerate(strengths):
    shift, _ = style.side_by_side(number, len(strengths))
    color = f"C{number}"
    for row in (row for row in honest if row["strength"] == strength):
      predicted, used = row["predicted"][1], row["used"][1]
      never = predicted is None
      ax.plot(
        names.index(row["attack"]) + shift,
        1.04 if never else predicted / (used or row["spent"]),
        "^" if never else "v" if used is None else "o",
        color=color,
        markerfacecolor="none" if used is None else color,
        transform=ax.get_xaxis_transform() if never else ax.transData,
        clip_on=not never,
      )
    ax.plot([], [], "o", color=color, label=f"{rows[0]['axis']} {strength:g}")
  ax.set(yscale="log", ylabel="predicted over used queries")
  if any(row["predicted"][1] is None for row in honest):
    ax.text(-0.02, 1.04, "never", transform=ax.transAxes, ha="right", va="center", fontsize=8)
  ax.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=7)
  ax.set_xlim(-0.6, len(names) - 0.4)
  ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
  style.save(figure, path)
