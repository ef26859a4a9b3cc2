"""Tables from ledgers alone. Imports no JAX."""

from orjax import records


def rate(summary: dict, name: str) -> str:
  """A rate with its 95 % interval, and the standard error over runs if there are any."""
  low, high = summary[f"{name}_interval"]
  text = f"{summary[name]:.2f} [{low:.2f}, {high:.2f}]"
  error = summary.get(f"{name}_run_error")
  return text if error is None else f"{text} ±{error:.3f}"


def distance(summary: dict) -> str:
  """The mean and the largest l2 of clean successes."""
  return "-" if summary["l2"] is None else f"{summary['l2']:.2f} ({summary['max_l2']:.2f})"


def markdown(header: list[str], rows: list[list[str]]) -> str:
  """Aligned Markdown."""
  widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
  line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
  rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
  return "\n".join([line(header), rule, *map(line, rows)])


def attacks(directory: str) -> str:
  """Success against variance, every kind of success in a column of its own.

  What a sweep varies besides gets a column each: answers averaged, the setting's numbers.
  """
  accuracies = records.read_json(directory, "accuracy.json")
  found = [{**record, **record["setting"], "samples": record["num_samples"]}
           for record in records.read(directory)]
  varied = [name for name in ("samples", "spacing")
            if len({record.get(name) for record in found}) > 1]
  header = ["attack", "targeted", *varied, "variance", "trials", "accuracy", "claimed",
            "clean success", "defended success", "noise-only error", "mean l2 (max)",
            "median steps", "median queries"]
  rows = []
  groups = records.group(found, "attack", "targeted", *varied, "variance")
  for (attack, targeted, *setting, variance), members in groups.items():
    summary = records.summarise(members)
    known = accuracies[f"{variance:g}"]
    rows.append([
        attack, "yes" if targeted else "no", *(f"{value:g}" for value in setting),
        f"{variance:g}", str(summary["num_trials"]),
        f"{known['accuracy']:.4f}", rate(summary, "claimed"),
        rate(summary, "clean_success"), rate(summary, "defended_success_rate"),
        rate(summary, "noise_error_rate"),
        distance(summary),
        f"{summary['median_steps']:.0f}", f"{summary['median_queries']:.0f}"])
  return markdown(header, rows)
