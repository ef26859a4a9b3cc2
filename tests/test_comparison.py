"""Defenses at one cost against the same attackers: the strengths, the table, the main."""

import json

from handmade import cells
from handmade import sweep_over
from handmade import write
import mains
import matplotlib.pyplot as plt
import numpy as np
import pytest

from harness import request
from harness.report import comparison
from harness.studies import equal_cost
from orjax import records

_ROWS = [
  {"value": "none", "defense": "none", "strength": None, "why": None},
  {
    "value": "a.py:f",
    "defense": "mine",
    "axis": "digits",
    "strength": 2.0,
    "why": "it keeps every label",
    "wanted": 0.01,
  },
]


@pytest.fixture
def folders(tmp_path):
  """Two attacks in a ball that take other images, and one that is in none."""

  def folder(value, attack, fallen, **about):
    found = [
      {**record, "clean_success": record["index"] in fallen, **about}
      for record in sweep_over({2: 0.5}, attack=attack)
    ]
    ball = {} if attack == "hop_skip_jump" else {"radius": 0.3}
    return write(tmp_path / value.replace(":", "_") / attack, found, **ball)

  fallen = {"ql": range(4), "square": range(2, 10), "hop_skip_jump": range(20)}
  return {
    row["value"]: {
      attack: folder(row["value"], attack, where, zero_gradients=0.9 * (attack == "ql"))
      for attack, where in fallen.items()
    }
    for row in _ROWS
  }


def test_the_table_says_who_falls_to_whom(folders, tmp_path):
  text = comparison.write(tmp_path, _ROWS, folders)
  header, undefended, mine = cells(text)
  assert header[3:] == ["ql", "square", "hop_skip_jump", "any in a ball"]
  assert undefended[:3] == ["none", "-", "0.900 [0.890, 0.910]"]
  assert mine[:2] == ["mine", "digits 2 (*)"]
  for row in (undefended, mine):
    assert row[3:] == [
      "0.20 [0.08, 0.42], claims 0.50 (blind)",
      "0.40 [0.22, 0.61], claims 0.50",
      "1.00 [0.84, 1.00], claims 0.50, l2 1.50",
      "0.50 [0.30, 0.70]",  # images 0 to 9, of two attacks
    ]
  assert "(*) No strength of mine costs 0.01 of accuracy" in text
  assert "(blind) Most steps of the attack learnt nothing" in text
  assert (tmp_path / "table.md").read_text() == text + "\n"
  assert (tmp_path / "comparison.png").stat().st_size > 1000


def test_nothing_is_noted_where_nothing_is_to_be_noted(folders, tmp_path):
  only = {"none": {"square": folders["none"]["square"]}}
  text = comparison.write(tmp_path, _ROWS[:1], only)
  assert "(*)" not in text and "(blind)" not in text
  assert cells(text)[0][3:] == ["square"], "the union of one attack is that attack"


def test_the_picture_has_the_rates(folders, tmp_path, monkeypatch):
  shown = []
  monkeypatch.setattr(plt, "close", shown.append)
  comparison.write(tmp_path, _ROWS, folders)
  (axes,) = shown[0].axes
  np.testing.assert_allclose(axes.images[0].get_array(), [[0.2, 0.4, 1.0, 0.5]] * 2)
  assert [text.get_text() for text in axes.texts[:4]] == ["0.20 (blind)", "0.40", "1.00", "0.50"]
  assert "share of 20 images" in axes.get_title()
  assert [tick.get_text() for tick in axes.get_yticklabels()] == ["none (0.900)", "mine (0.900)"]


@pytest.mark.parametrize(
  "strength, weakest, expected",
  [(0.0256789, 0, 0.0256), (0.39081, 6, 0.391), (255.0, 255, 255.0), (0.57, 0, 0.57), (4, 9, 4)],
)
def test_a_strength_is_rounded_to_its_weaker_side(strength, weakest, expected):
  assert equal_cost._rounded(strength, weakest) == expected


def test_a_line_gives_what_was_given():
  options = [
    request.Option("name", "string", None, ""),
    request.Option("few", "float", None, "", many=True),
    request.Option("quick", "boolean", True, ""),
    request.Option("count", "integer", 3, ""),
  ]
  for flags in (["--name=a b", "--few=1e-06", "--few=2.0", "--noquick"], ["--count=7"], []):
    assert request.line(options, request.parse(options, ["main", *flags])) == flags


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--host_model=a.py:f", "--host_model would be asked dozens of times"),
    ("--defense=inner_noise", "is trained into a network: attack it with blackbox_attacks"),
    ("--defense=nothing", "is neither path/to/file.py:factory nor one of"),
    ("--attack=pgd", "--attack"),
    ("--max_queries=3", "max_queries"),
  ],
)
def test_what_cannot_be_compared_is_refused(flag, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    mains.run("compare_defenses", flag, f"--out={tmp_path}", f"--model_dir={tmp_path}")
  assert not list(tmp_path.iterdir())


def test_the_main_compares_and_goes_on(shared, tmp_path, capsys):
  own = f"{mains.ROOT}/experiments/examples/my_defense.py:factory"
  flags = (shared[0], "--num_images=2", "--max_queries=60", f"--defense={own}", f"--out={tmp_path}")
  flags += ("--attack=square",)
  mains.run("compare_defenses", *flags, "--accuracy_drop=0.05")
  _, undefended, mine = cells((tmp_path / "table.md").read_text())
  found = json.loads((tmp_path / "strengths.json").read_text())["found"]
  assert [each["value"] for each in found] == [own]
  assert undefended[0] == "none"
  assert mine[1] == f"{found[0]['axis']} {found[0]['strength']:g} (*)"
  kept = sorted(path.parent for path in tmp_path.glob("*/*/manifest.json"))
  assert [cell.name for cell in kept] == ["square"] * 2
  before = {cell: records.read(cell) for cell in kept}
  assert all(r["num_queries"] <= 60 for each in before.values() for r in each)
  assert {records.read_manifest(cell)["request"]["max_queries"] for cell in kept} == {60}
  capsys.readouterr()
  mains.run("compare_defenses", *flags, "--accuracy_drop=0.05")
  assert capsys.readouterr().out.count("2 trials, 2 of them done before") == 2
  assert {cell: records.read(cell) for cell in kept} == before
  with pytest.raises(ValueError, match="was found for other flags or another network"):
    mains.run("compare_defenses", *flags, "--accuracy_drop=0.04")
