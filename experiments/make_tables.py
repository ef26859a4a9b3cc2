"""Writes the paper's tables from ledgers alone, beside the paper's numbers. No JAX.

    python experiments/make_tables.py --records=DIR/zoo --records=DIR/ql --records=DIR/bandits

    python experiments/make_tables.py --table=2 --records=DIR/none --records=DIR/or

Table 1: three black-box attacks on an ImageNet network through four noise variances. Every
folder is the --out of `blackbox_attacks.py`; together they hold what is tabled. Tables 2 and 4:
networks trained with noise, under white-box PGD; see `training_tables`.
"""

import pathlib
import sys

from absl import app
from absl import flags
import numpy as np
import tables
import training_tables

from orjax import records

_RECORDS = flags.DEFINE_multi_string(
  "records", None, "Folder of records; repeat the flag for several.", required=True
)
_TABLE = flags.DEFINE_enum("table", "1", ("1", "2", "4"), "Which of the paper's tables.")
_OUT = flags.DEFINE_string(
  "out", None, "Folder for the table (default: the parent of the first --records)."
)

# Success rates of the paper's Table 1, by attack and variance: 100 ImageNet images.
PAPER = {
  "zoo": {0: 0.69, 1e-4: 0.03, 1e-2: 0.00, 5.76e-2: 0.00},
  "ql": {0: 1.00, 1e-4: 0.73, 1e-2: 0.02, 5.76e-2: 0.01},
  "bandits": {0: 0.92, 1e-4: 0.58, 1e-2: 0.07, 5.76e-2: 0.06},
}


def found_model(found: list[dict], record: dict) -> str:
  """The model that the table is about."""
  return (found or [record])[0]["model"]


def table1(directories: list[str]) -> str:
  """Markdown, a row per attack and variance.

  Raises:
    ValueError: a folder holds other attacks than Table 1's, or two hold the same trials.
  """
  found, accuracies, seen = [], {}, set()
  for directory in directories:
    known = records.read_json(directory, "accuracy.json")
    for record in records.read(directory):
      if record["attack"] not in PAPER or record["targeted"] or record["num_samples"] != 1:
        raise ValueError(
          f"{directory} holds other trials than Table 1's: untargeted zoo, ql "
          f"or bandits, nothing averaged; leave it out"
        )
      if record["dataset"] != "imagenet2012" or record["model"] != found_model(found, record):
        raise ValueError(
          f"{directory} holds {record['dataset']} and {record['model']}: Table 1 "
          f"is about one ImageNet model; leave it out"
        )
      if records.identity(record) in seen:
        raise ValueError(f"{directory} repeats trials of another folder: leave one out")
      seen.add(records.identity(record))
      found.append(record)
      accuracies[record["attack"], record["variance"]] = known[f"{record['variance']:g}"]
  if not found:
    raise ValueError(f"there are no records in {', '.join(directories)}: run the attacks")
  header = [
    "attack",
    "variance",
    "paper",
    "trials",
    "claimed",
    "clean success",
    "defended success",
    "noise-only error",
    "accuracy",
    "mean l2 (max)",
    "median queries to success",
    "median queries",
  ]
  rows = []
  order = list(PAPER)
  groups = records.group(found, "attack", "variance")
  for (attack, variance), members in sorted(
    groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
  ):
    summary, known = records.summarise(members), accuracies[attack, variance]
    paper = PAPER[attack].get(variance)
    costs = [record["num_queries"] for record in members if record["clean_success"]]
    low, high = known["interval"]
    rows.append(
      [
        attack,
        f"{variance:g}",
        "-" if paper is None else f"{paper:.2f}",
        str(summary["num_trials"]),
        tables.rate(summary, "claimed"),
        tables.rate(summary, "clean_success"),
        tables.rate(summary, "defended_success_rate"),
        tables.rate(summary, "noise_error_rate"),
        f"{known['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
        tables.distance(summary),
        f"{np.median(costs):.0f}" if costs else "-",
        f"{summary['median_queries']:.0f}",
      ]
    )
  return tables.markdown(header, rows)


_TABLES = {"1": table1, "2": training_tables.table2, "4": training_tables.table4}


def main(argv):
  del argv
  try:
    table = _TABLES[_TABLE.value](_RECORDS.value)
    out = pathlib.Path(_OUT.value or pathlib.Path(_RECORDS.value[0]).parent)
    records.make_folder(out)
    path = out / f"table{_TABLE.value}.md"
    path.write_text(table + "\n")
  except (ValueError, OSError) as e:
    sys.exit(f"error: {e}")
  print(f"{table}\ntable: {path}")


if __name__ == "__main__":
  app.run(main)
