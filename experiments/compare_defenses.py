"""Which defense is worth its accuracy? Every one at the same cost, against the same attackers.

    python experiments/compare_defenses.py
    python experiments/compare_defenses.py --defense=output_noise --defense=my_defense.py:factory \\
        --attack=square --attack=hop_skip_jump --accuracy_drop=0.02

Each defense gets the strength that costs so much accuracy, found by bisection, or its own
strongest where it keeps every label; each attack its published numbers and the same budget of
queries; the undefended model is the first row. Interrupted, it resumes. Every cell of the
table is a folder of records in --out, made by its own command; strengths.json says how each
strength was found, and table.md and comparison.png show all of it.
"""

import pathlib
from typing import NamedTuple

import jax

from harness import app
from harness import attacks
from harness import classifiers
from harness import data
from harness import defenses
from harness import request
from harness import sizes
from harness import sweep
from harness.report import comparison
from harness.request import Option
from harness.studies import equal_cost

_ACCESS = "answers"
# What a cell is told besides its defense, its attack and its folder.
_SHARED = [*data.DATASET, *data.CHOICE, *classifiers.OPTIONS, *sizes.SIZE, sizes.SLOTS]
OPTIONS = [
  *_SHARED,
  Option(
    "defense",
    "string",
    ["all"],
    "a name of the zoo, all, or path/to/file.py:factory",
    request.WHAT,
    many=True,
  ),
  Option(
    "attack",
    "enum",
    ["zoo", "ql", "bandits", "square", "pop_skip_jump", "informed_nes"],
    "who attacks",
    request.HOW,
    many=True,
    choices=tuple(name for name, spec in attacks.named().items() if spec.access == _ACCESS),
  ),
  Option(
    "accuracy_drop",
    "float",
    0.01,
    "accuracy that each defense may cost, as a difference",
    request.HOW_MUCH,
    above=0,
    below=1,
  ),
  Option(
    "max_queries", "integer", 10_000, "that each attack may ask an image", request.HOW_MUCH, low=1
  ),
  app.out("runs/compare_defenses"),
]
_SWEEP = sweep.options(_ACCESS, attack="zoo", out="")


class ComparisonRequest(NamedTuple):
  """What is compared.

  Attributes:
    images: which data.
    classifier: what is defended.
    defenses: that are compared, beside none.
    attacks: their names.
    drop: of accuracy.
    shared: flags of every cell.
    seed: of everything random.
    out: folder of all folders.
  """

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  defenses: list[defenses.DefenseRequest]
  attacks: list[str]
  drop: float
  shared: list[str]
  seed: int
  out: str


def read(values: request.Values) -> ComparisonRequest:
  """The request that the flags make."""
  images = data.read(values)
  classifier = classifiers.read(values, images)
  classifiers.refuse_dear(classifier)
  request.refuse_twice(values, "attack", "defense")
  wanted = [defenses.read_name(name) for name in defenses.unfolded(values["defense"])]
  wanted = [each for each in wanted if each.value != "none"]
  if any(each.value == "inner_noise" for each in wanted):
    raise ValueError(
      "--defense=inner_noise is trained into a network: attack it with blackbox_attacks.py"
    )
  shared = request.line(_SHARED, values) + [f"--max_queries={values['max_queries']}"]
  found = ComparisonRequest(
    images,
    classifier,
    wanted,
    values["attack"],
    values["accuracy_drop"],
    shared,
    values["seed"],
    values["out"],
  )
  for attack in found.attacks:
    cell(found, attack, "none", None)
  return found


def cell(
  asked: ComparisonRequest, attack: str, defense: str, strength: float | None
) -> sweep.SweepRequest:
  """The request of one cell, as its own command line makes it.

  Args:
    asked: the comparison.
    attack: its name.
    defense: as the flags name it.
    strength: of it; None of `none`.
  """
  strengths = [] if strength is None else [f"--strength={strength!r}"]
  flags = [
    f"--attack={attack}",
    f"--defense={defense}",
    *strengths,
    f"--out={folder(asked, attack, defense)}",
  ]
  values = request.parse(_SWEEP, ["blackbox_attacks.py", *asked.shared, *flags])
  return sweep.reader(_SWEEP)(values)


def folder(asked: ComparisonRequest, attack: str, defense: str) -> str:
  """Where the records of a cell are."""
  return str(pathlib.Path(asked.out, defenses.name(defense).replace(":", "_"), attack))


def main(asked: ComparisonRequest) -> None:
  """Finds the strengths, attacks, and draws the comparison."""
  for attack in asked.attacks:  # what cannot be is told before anything is trained
    sweep.check(cell(asked, attack, "none", None))
  chosen = equal_cost.strengths(
    asked.classifier, asked.images, asked.defenses, asked.drop, asked.seed, asked.out
  )
  rows = [{"value": "none", "defense": "none", "strength": None, "why": None}, *chosen]
  number = 0
  for row in rows:
    for attack in asked.attacks:
      number += 1
      strength = "" if row["strength"] is None else f" at {row['strength']:g}"
      print(
        f"\n[{number} of {len(rows) * len(asked.attacks)}] {attack} against "
        f"{row['defense']}{strength}",
        flush=True,
      )
      sweep.run(cell(asked, attack, row["value"], row["strength"]))
      jax.clear_caches()  # a hundred cells' programs are gigabytes; none serves another
  cells = {
    row["value"]: {name: folder(asked, name, row["value"]) for name in asked.attacks}
    for row in rows
  }
  print("\n" + comparison.write(asked.out, rows, cells))


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
