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


def robust(summary: dict, accuracy: float, name: str = "clean_success") -> str:
  """Accuracy under attack: the images it has right, less the share of them that fall."""
  low, high = summary[f"{name}_interval"]
  return (f"{accuracy * (1 - summary[name]):.3f} "
          f"[{accuracy * (1 - high):.3f}, {accuracy * (1 - low):.3f}]")


def varied(found: list[dict]) -> list[str]:
  """Names of what differs between records, beside the variance and the trial itself."""
  names = dict.fromkeys(name for record in found for name in record["setting"])
  return [name for name in ("num_samples", *names)
          if len({str(_value(record, name)) for record in found}) > 1]


def _value(record, name):
  return record[name] if name == "num_samples" else record["setting"].get(name)


def _show(value):
  if value is None or isinstance(value, (bool, str)):
    return {None: "-", True: "yes", False: "no"}.get(value, value)
  return f"{value:g}"


def attacks(directory: str) -> str:
  """Success against variance, every kind of success in a column of its own.

  What a sweep varies besides gets a column each: answers averaged, the setting's numbers.
  White-box PGD has the accuracy under attack and the share of gradients exactly 0 besides.
  """
  accuracies = records.read_json(directory, "accuracy.json")
  found = records.read(directory)
  names, pgd = varied(found), found[0]["attack"] == "pgd"
  header = ["attack", "targeted", *names, "variance", "trials", "accuracy", "claimed",
            "clean success", "defended success", "noise-only error", "mean l2 (max)",
            "median steps", "median queries"]
  header += ["accuracy under attack", "zero gradients"] if pgd else []
  header = ["samples" if name == "num_samples" else name for name in header]
  groups: dict[tuple, list[dict]] = {}
  for record in found:  # in the order of the sweep, which is that of the records
    key = (record["attack"], record["targeted"],
           *(_value(record, name) for name in names), record["variance"])
    groups.setdefault(key, []).append(record)
  if not pgd:
    groups = dict(sorted(groups.items()))
  rows = []
  for (attack, targeted, *setting, variance), members in groups.items():
    summary = records.summarise(members)
    known = accuracies[f"{variance:g}"]
    row = [
        attack, "yes" if targeted else "no", *map(_show, setting), f"{variance:g}",
        str(summary["num_trials"]), f"{known['accuracy']:.4f}", rate(summary, "claimed"),
        rate(summary, "clean_success"), rate(summary, "defended_success_rate"),
        rate(summary, "noise_error_rate"), distance(summary),
        f"{summary['median_steps']:.0f}", f"{summary['median_queries']:.0f}"]
    if pgd:
      row += [robust(summary, known["accuracy"]), f"{summary['zero_gradients']:.3f}"]
    rows.append(row)
  return markdown(header, rows)


_MASKED = 0.1  # of all images: what stronger attacks must add


def worst_case(members: list[dict]) -> dict:
  """Share of the images that fall to any of the attacks, with Wilson's interval."""
  fallen: dict[tuple, bool] = {}
  for record in members:
    image = record["index"], record["run"]
    fallen[image] = fallen.get(image, False) or record["clean_success"]
  num_fallen = sum(fallen.values())
  return {"clean_success": num_fallen / len(fallen), "num_images": len(fallen),
          "clean_success_interval": records.wilson(num_fallen, len(fallen))}


def verdict(directory: str) -> str:
  """Whether the cross-entropy of PGD is masked, in a sentence, from the ledger alone.

  The worst case hands in, for every image, whichever attack succeeded on it. Masked means
  that the published attack, the first one, misses more than a tenth of all images that
  others find.
  """
  accuracies = records.read_json(directory, "accuracy.json")
  sentences = []
  for (variance,), members in records.group(records.read(directory), "variance").items():
    accuracy = accuracies[f"{variance:g}"]["accuracy"]
    first = members[0]["setting"]
    published = [r for r in members if r["setting"] == first]
    alone, worst = worst_case(published), worst_case(members)
    first_left, left = (accuracy * (1 - x["clean_success"]) for x in (alone, worst))
    hidden = first_left - left
    zero = sum(r["zero_gradients"] for r in published) / len(published)
    num_attacks = len({str(r["setting"]) for r in members})
    masked = hidden > _MASKED
    sentences.append(
        f"{'Masked' if masked else 'Not masked'}"
        f"{'' if variance == 0 else f' at variance {variance:g}'}: PGD(Xent) leaves an "
        f"accuracy of {first_left:.3f}, the worst case of {num_attacks} attacks "
        f"{robust(worst, accuracy)} ({worst['num_images']} images, 95 %); {hidden:.3f} of it "
        + (f"was hidden gradients, and {zero:.2f} of the gradients of PGD(Xent) were exactly 0."
           if masked else
           f"is all that stronger attacks add; {zero:.2f} of the gradients of PGD(Xent) were "
           f"exactly 0."))
  return "\n".join(sentences)
