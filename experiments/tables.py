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


def left(summary: dict, accuracy: float) -> tuple[float, float, float]:
  """Accuracy under attack and its interval: the images it has right, less those that fall.

  By fresh answers of the network as it is at test time, which may be random.
  """
  low, high = summary["defended_success_rate_interval"]
  return tuple(accuracy * (1 - x) for x in (summary["defended_success_rate"], high, low))


def robust(summary: dict, accuracy: float) -> str:
  """`left` in words."""
  rate, low, high = left(summary, accuracy)
  return f"{rate:.3f} [{low:.3f}, {high:.3f}]"


def varied(found: list[dict]) -> list[str]:
  """Names of what differs between records, beside the variance and the trial itself."""
  names = dict.fromkeys(name for record in found for name in record["setting"])
  return [
    name
    for name in ("num_samples", *names)
    if len({str(_value(record, name)) for record in found}) > 1
  ]


def _value(record, name):
  return record[name] if name == "num_samples" else record["setting"].get(name)


def _show(value):
  if value is None or isinstance(value, (bool, str)):
    return {None: "-", True: "yes", False: "no"}.get(value, value)
  return f"{value:g}"


def attacks(directory: str) -> str:
  """Success against variance, every kind of success in a column of its own.

  What a sweep varies besides gets a column each: answers averaged, the setting's numbers.
  White-box PGD has the accuracy under attack and the share of steps whose gradient was
  exactly 0 besides.
  """
  accuracies = records.read_json(directory, "accuracy.json")
  found = records.read(directory)
  names, pgd = varied(found), found[0]["attack"] == "pgd"
  header = [
    "attack",
    "targeted",
    *names,
    "variance",
    "trials",
    "accuracy",
    "claimed",
    "clean success",
    "defended success",
    "noise-only error",
    "mean l2 (max)",
    "median steps",
    "median queries",
  ]
  header += ["accuracy under attack", "zero gradients"] if pgd else []
  header = ["samples" if name == "num_samples" else name for name in header]
  groups: dict[tuple, list[dict]] = {}
  for record in found:  # in the order of the sweep, which is that of the records
    key = (
      record["attack"],
      record["targeted"],
      *(_value(record, name) for name in names),
      record["variance"],
    )
    groups.setdefault(key, []).append(record)
  if not pgd:
    groups = dict(sorted(groups.items()))
  rows = []
  for (attack, targeted, *setting, variance), members in groups.items():
    summary = records.summarise(members)
    known = accuracies[f"{variance:g}"]
    row = [
      attack,
      "yes" if targeted else "no",
      *map(_show, setting),
      f"{variance:g}",
      str(summary["num_trials"]),
      f"{known['accuracy']:.4f}",
      rate(summary, "claimed"),
      rate(summary, "clean_success"),
      rate(summary, "defended_success_rate"),
      rate(summary, "noise_error_rate"),
      distance(summary),
      f"{summary['median_steps']:.0f}",
      f"{summary['median_queries']:.0f}",
    ]
    if pgd:
      row += [robust(summary, known["accuracy"]), f"{summary['zero_gradients']:.3f}"]
    rows.append(row)
  return markdown(header, rows)


_MASKED = 0.1  # of all images: what stronger attacks must add


def worst_case(members: list[dict]) -> dict:
  """Share of the images that fall to whichever attack does best on each, with interval."""
  fallen: dict[tuple, float] = {}
  for record in members:
    image = record["index"], record["run"]
    fallen[image] = max(fallen.get(image, 0.0), record["defended_success_rate"])
  num_fallen = sum(fallen.values())
  return {
    "defended_success_rate": num_fallen / len(fallen),
    "num_images": len(fallen),
    "defended_success_rate_interval": records.wilson(num_fallen, len(fallen)),
  }


def published(found: list[dict], asked: dict, loss: str) -> list[dict]:
  """Records of PGD with that loss as it was asked for: usual steps, starts and precision."""
  return [
    r
    for r in usual(found, asked)
    if r["setting"]["loss"] == loss
    and r["num_samples"] == asked["num_samples"][0]
    and not r["setting"]["substitute"]
    and r["setting"]["float64"] == asked["float64"]
  ]


def by_attack(found: list[dict]) -> list[list[dict]]:
  """Records by what attacked, in the order of the sweep."""
  groups: dict[tuple, list[dict]] = {}
  for record in found:
    groups.setdefault((record["num_samples"], str(record["setting"])), []).append(record)
  return list(groups.values())


def usual(found: list[dict], asked: dict) -> list[dict]:
  """Records of as many steps and starts as were asked for, not of what --diagnose adds."""
  return [
    r
    for r in found
    if (r["setting"]["steps"], r["setting"]["restarts"]) == (asked["max_steps"], asked["restarts"])
  ]


def verdict(directory: str) -> str:
  """Whether the cross-entropy of PGD is masked, in a sentence, from the ledger alone.

  The worst case hands in, for every image, what the best attack on it found. Masked means
  that attacks of as many steps and starts as the published one succeed on more than a tenth
  of all images where it does not; what more steps and starts add is no masking.
  """
  accuracy = records.read_json(directory, "accuracy.json")["0"]["accuracy"]
  asked = records.read_json(directory, "manifest.json")["asked"]
  found = records.read(directory)
  first = published(found, asked, "xent")
  equals = usual(found, asked)
  alone, equal = (left(worst_case(group), accuracy)[0] for group in (first, equals))
  worst = worst_case(found)
  zero = sum(record["zero_gradients"] for record in first) / len(first)
  masked = alone - equal > _MASKED
  num_usual, num_all = (len(by_attack(group)) for group in (equals, found))
  return (
    f"{'Masked' if masked else 'Not masked'}: PGD(Xent) leaves an accuracy of "
    f"{alone:.3f}, the worst of {num_usual} attacks of as many steps {equal:.3f}, the "
    f"worst case of all {num_all} {robust(worst, accuracy)} "
    f"({worst['num_images']} images, 95 %); {zero:.2f} of the steps of PGD(Xent) met "
    f"a gradient of exactly 0, so that "
    + (
      f"{alone - equal:.3f} of the accuracy was hidden, not defended."
      if masked
      else f"{alone - equal:.3f} was hidden."
    )
  )
