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
  many_looks = sweep_over({0.0: 0.75, 1e-2: 0.5}, **square)
  ball = {"norm": "l2", "radius": 2.0, "model": "net"}
  return [
    write(tmp_path / "square" / "published", one_look, **ball),
    write(tmp_path / "square" / "sequential", many_looks, **ball),
    write(tmp_path / "decision" / "published", far, model="net"),
  ]


def _reached(folder, radius):
  return panel.reached(ledgers.load(folder), radius)


def test_an_attack_in_no_ball_is_judged_by_the_radius_of_those_in_one(tmp_path):
  *square, decision = _folders(tmp_path)
  loaded = [ledgers.load(folder) for folder in [*square, decision]]
  ball = panel.Radius("l2", 2.0)
  assert panel.radius_of(loaded) == ball and panel.radius_of(loaded[2:]) is None
  found = _reached(decision, ball)
  # Of the 20 images all fall, 9 within 2.0; of the 10 through noise, 9.
  assert [found[s].rate for s in (0.0, 1e-2)] == [9 / 20, 9 / 20]
  assert found[0.0].interval == records.wilson(9, 20)
  assert _reached(decision, None)[0.0].rate == 1.0
  # It spends all its queries; all 20 have a distance, half of them in noise.
  assert found[0.0].queries is None and found[0.0].distance == 1 + 9.5 / 8
  assert found[1e-2].distance == math.inf
  assert _reached(square[0], ball)[0.0] == panel.Reached(
    0.75, records.wilson(15, 20), 0.75, 0.75, 0.75, 40.0, 2.0
  )
  linf = sweep_over({0.0: 1.0}, attack="square")
  linf = ledgers.load(write(tmp_path / "linf" / "published", linf, norm="linf", radius=0.1))
  assert panel.radius_of([linf, loaded[2]]) == panel.Radius("linf", 0.1)
  # Their l_inf distance is 0.3.
  assert _reached(decision, panel.Radius("linf", 0.1))[0.0].rate == 0.0


def test_the_table_names_every_attack_and_strength(tmp_path):
  first, second, third = panel.table(_folders(tmp_path)).split("\n\n")[::2]
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
  assert "| decision | published  | 2.19             | -" in second
  assert "| square   | published  | 0.75, of 10 0.75" in third
  seldom = [{**r, "defended_success_rate": 0.1} for r in sweep_over({0.0: 1.0}, attack="ql")]
  found = _reached(write(tmp_path / "ql" / "published", seldom), None)[0.0]
  assert (found.defended, found.resubmitted) == pytest.approx((0.1, 1 - 0.9**10))
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
  "changes, request_, message",
  [
    ({}, {"model": "another"}, "a panel has one model, not another and net: leave folders out"),
    ({}, {"targeted": True}, "a panel has one targeted, not False and True"),
    ({"index": 99}, {}, "the folders hold other images"),
    ({"setting": {"spacing": 0.1}}, {}, "one sweeps spacing: a panel has one attack a folder"),
    ({}, {"norm": "l2", "radius": 3.0}, r"attacks in l2 balls of 2.0 and 3.0 are no panel"),
  ],
)
def test_folders_of_different_things_are_refused(tmp_path, changes, request_, message):
  folders = _folders(tmp_path)
  other = [
    {**record, **changes} if record["index"] == 0 else record
    for record in sweep_over({0.0: 1.0, 1e-2: 0.5})
  ]
  request_ = {"model": "net", **request_}
  folders.append(write(tmp_path / "other" / "one", other, **request_))
  with pytest.raises(ValueError, match=message):
    panel.table(folders)
  # Asked for nothing by name, the other figures are drawn all the same.
  assert "panel.png" not in [path.name for path in figures.draw(folders, tmp_path / "out")]
