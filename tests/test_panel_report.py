"""Attacks of a panel side by side: tables and figure by their cells, lines and values."""

import math

from handmade import captured
from handmade import lines
from handmade import sweep_over
from handmade import write
import matplotlib.pyplot as plt
import pytest

from harness.report import figures
from harness.report import ledgers
from harness.report import panel
from orjax import records


def _folders(tmp_path):
  """Square in an l2 ball of 2, believing one look and many; an attack in no ball."""
  square = {"attack": "square", "l2": 2.0, "num_queries": 40}
  far = [
    {**record, "l2": 1.0 + record["index"] / 8}
    for record in sweep_over({0.0: 1.0, 1e-2: 0.5}, attack="hop_skip_jump", num_queries=900)
  ]
  one_look = sweep_over({0.0: 0.75, 1e-2: 0.25}, **square)
  return [
    write(tmp_path / "square" / "published", one_look, norm="l2", radius=2.0),
    write(
      tmp_path / "square" / "sequential",
      sweep_over({0.0: 0.75, 1e-2: 0.5}, **square),
      norm="l2",
      radius=2.0,
    ),
    write(tmp_path / "decision" / "published", far),
  ]


def _reached(folder, radius):
  return panel.reached(ledgers.load(folder), radius)


def test_an_attack_in_no_ball_is_judged_by_the_radius_of_those_in_one(tmp_path):
  *square, decision = _folders(tmp_path)
  loaded = [ledgers.load(folder) for folder in [*square, decision]]
  assert panel.radius_of(loaded) == 2.0 and panel.radius_of(loaded[2:]) is None
  found = _reached(decision, 2.0)
  # Of the 20 images all fall, 9 within 2.0; of the 10 through noise, 9.
  assert [found[s].rate for s in (0.0, 1e-2)] == [9 / 20, 9 / 20]
  assert found[0.0].interval == records.wilson(9, 20)
  assert _reached(decision, None)[0.0].rate == 1.0
  # Eleven of 20 are infinitely dear, and all 20 have a distance; half of them do in noise.
  assert found[0.0].queries == math.inf and found[0.0].distance == 1 + 9.5 / 8
  assert found[1e-2].distance == math.inf
  assert _reached(square[0], 2.0)[0.0] == panel.Reached(
    0.75, records.wilson(15, 20), 0.75, 40.0, 2.0
  )


def test_the_table_names_every_attack_and_strength(tmp_path):
  first, second = panel.table(_folders(tmp_path)).split("\n\n")[::2]
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines()]
  assert cells[0] == ["attack", "", "noise variance 0", "noise variance 0.01"]
  assert [row[:2] for row in cells[2:]] == [
    ["square", "published"],
    ["square", "sequential"],
    ["decision", "published"],
  ]
  low, high = records.wilson(5, 20)
  assert cells[2][3] == f"0.25 [{low:.2f}, {high:.2f}], claims 0.25"
  assert "| square   | published  | 40 at 2.00       | - at -" in second
  assert "within l2 2;" in panel.table(_folders(tmp_path / "again"))


def test_the_figure_has_an_axes_for_each_kind_and_a_line_for_each_attack(tmp_path, monkeypatch):
  drawn = captured(monkeypatch)
  figures.draw(_folders(tmp_path), tmp_path, "panel")
  square, decision, *others = drawn["panel.png"].axes
  assert [square.get_title(), decision.get_title(), len(others)] == ["square", "decision", 0]
  found = lines(square)
  places = [0.0, 1e-2]
  assert found["published"] == (places, [0.75, 0.25])
  assert found["sequential"] == (places, [0.75, 0.5])
  assert lines(decision)["published"] == (places, [9 / 20, 9 / 20])
  assert [list(line.get_ydata()) for line in square.get_lines()[1::2]] == [
    [0.75, 0.25],
    [0.75, 0.5],
  ]
  plt.close("all")


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"model": "another"}, "a panel has one model, not another and convnet_mnist"),
    ({"index": 99}, "the folders hold other images"),
  ],
)
def test_folders_of_different_things_are_refused(tmp_path, changes, message):
  folders = _folders(tmp_path)
  other = [
    {**record, **changes} if record["index"] == 0 else record
    for record in sweep_over({0.0: 1.0, 1e-2: 0.5})
  ]
  with pytest.raises(ValueError, match=message):
    panel.table([*folders, write(tmp_path / "other" / "one", other)])
  ball = write(tmp_path / "ball" / "one", sweep_over({0.0: 1.0}), norm="l2", radius=3.0)
  with pytest.raises(ValueError, match=r"l2 balls of 2.0 and 3.0 are no panel"):
    panel.table([*folders, ball])
