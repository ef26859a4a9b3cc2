"""Figures of networks under white-box PGD and of the theory, by what they show."""

from handmade import bars
from handmade import captured
from handmade import lines
from handmade import pgd
from handmade import sweep_over
from handmade import ticks
from handmade import USUAL
from handmade import write
import matplotlib.pyplot as plt
import numpy as np
import pytest

from harness.report import figures
from harness.report.figures import theory
from orjax import records


@pytest.fixture
def drawn(monkeypatch):
  yield captured(monkeypatch)
  plt.close("all")


def test_figure_2_of_white_box_pgd_needs_strengths(tmp_path, drawn):
  one = pgd(tmp_path / "one", [({}, 0.5)], defense="inner_noise", strength=0.5)
  assert "figure2.png" not in [path.name for path in figures.draw([one], tmp_path)]
  swept = sweep_over({0.5: 0.5, 2.0: 0.75}, attack="pgd", defense="inner_noise", setting=USUAL)
  figures.draw([write(tmp_path / "two", swept, axis="stddev inside")], tmp_path)
  assert list(drawn) == ["under_attack.png", "figure2.png"]
  assert lines(drawn["figure2.png"].axes[0])["PGD (n = 20): fools the clean model"] == (
    [0.5, 2.0],
    [0.5, 0.75],
  )
  labels = ticks(drawn["under_attack.png"].axes[0].yaxis)
  assert labels[:2] == ["no attack at stddev inside 0.5", "PGD(Xent) at stddev inside 0.5"]


def test_under_attack_shows_what_each_attack_leaves(tmp_path, drawn):
  folder = pgd(
    tmp_path,
    [
      ({}, 0.1),
      ({"loss": "mine"}, 0.5),
      ({"loss": "cw", "restarts": 3, "steps": 40}, 1.0, 20),
      ({"loss": "cw", "float64": True, "substitute": "twin"}, 0.25),
    ],
  )
  figures.draw([folder], tmp_path, "under_attack")
  (ax,) = drawn["under_attack.png"].axes
  assert ticks(ax.yaxis) == [
    "no attack",
    "PGD(Xent)",
    "PGD(mine)",
    "PGD(CW), 3 starts, 20 answers a step, 40 steps",
    "PGD(CW), float64, from twin",
  ]
  np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0.8, 0.72, 0.4, 0, 0.6])
  zeros = lines(ax)["share of steps with gradient 0"][0]
  np.testing.assert_allclose(zeros, [np.nan, 0.81, 0.45, 0, 0.675])
  assert ax.get_title() == "resnet32_cifar10-or100"


def test_figure_13_sorts_networks_by_stddev(tmp_path, drawn):
  both = [({}, 0.5), ({"loss": "cw"}, 1.0)]
  folders = [
    pgd(tmp_path / "100", [({}, 0.25), both[1]]),
    pgd(tmp_path / "0", [*both, ({"steps": 40}, 0.9)], trained_with="none", accuracy=0.9),
    pgd(tmp_path / "10", both, stddev=10.0),
  ]
  assert [path.name for path in figures.draw(folders, tmp_path)] == [
    "figure13.png",
    "under_attack.png",
  ]
  (ax,) = drawn["figure13.png"].axes
  assert ticks(ax.xaxis) == ["0", "10", "100"]
  assert lines(ax) == {
    "clean": ([1, 10, 100], [0.9, 0.8, 0.8]),
    "PGD(Xent)": ([1, 10, 100], pytest.approx([0.45, 0.4, 0.6])),
    "PGD(CW)": ([1, 10, 100], [0, 0, 0]),
  }
  with pytest.raises(ValueError, match="figure13 shows white-box PGD on one network in several"):
    figures.draw([folders[0], pgd(tmp_path / "again", both)], tmp_path, "figure13")


def test_figure_17_and_4_show_transfers_and_mean_losses(tmp_path, drawn):
  names = ("resnet32_cifar10-substitute", "resnet32_cifar10-or100-substitute")
  folder = pgd(
    tmp_path,
    [
      ({"loss": loss, "substitute": name}, share)
      for loss, share in (("xent", 0.5), ("cw_unbounded", 0.75))
      for name in names
    ],
  )
  traces = [
    {
      "setting": {**USUAL, "loss": loss},
      "losses": [-1.0, -2.0, -3.0 - i],
      "without_noise": [-1.0, -2.0, -3.0 - i],
      "index": i,
      "num_samples": 1,
      "model": "m",
      "strength": 0.0,
    }
    for loss in ("xent", "cw")
    for i in range(3)
  ]
  records.write_json(tmp_path / "traces.json", {"num_images": 3, "traces": traces})
  assert [path.name for path in figures.draw([folder], tmp_path)] == [
    "figure17.png",
    "figure4.png",
    "under_attack.png",
  ]
  (ax,) = drawn["figure17.png"].axes
  assert ticks(ax.xaxis) == ["undefended", "or100"]
  shown = bars(ax)
  np.testing.assert_allclose(shown["PGD(Xent)"], [0.4, 0.4])
  np.testing.assert_allclose(shown["PGD(CW), unbounded"], [0.2, 0.2])
  assert lines(ax)["no attack"][1] == [0.8, 0.8]
  xent, cw = drawn["figure4.png"].axes
  assert xent.get_title() == "PGD(Xent), 3 images" and cw.get_title() == "PGD(CW), 3 images"
  np.testing.assert_allclose(xent.get_lines()[0].get_ydata(), [1, 2, 4])
  assert xent.get_ylabel() == "mean loss of m"


def test_figures_of_the_theory_show_their_curves(tmp_path, drawn):
  rates = np.array([0.01, 0.1])
  theory.figure_1b([(0.5, rates, rates, rates / 2)], tmp_path / "1b.png")
  assert lines(drawn["1b.png"].axes[0]) == {
    "margin 0.5, as printed": ([0.01, 0.1], [0.01, 0.1]),
    "margin 0.5, corrected": ([0.01, 0.1], [0.005, 0.05]),
  }
  found = {
    "bias, as printed": rates,
    "bias": rates * 2,
    "bias, measured": rates * 3,
    "slope": rates,
  }
  theory.slope_errors([("h", rates, found)], tmp_path / "slopes.png")
  looks = {
    line.get_label(): (line.get_linestyle(), line.get_marker())
    for line in drawn["slopes.png"].axes[0].get_lines()
  }
  assert looks == {
    "bias, as printed": ("--", "None"),
    "bias": ("-", "None"),
    "bias, measured": ("None", "."),
    "slope": (":", "None"),
  }
  errors = np.array([[1.0, 3.0], [10.0, 30.0]])
  places = {"at the image": {"margin": (errors, np.array([2.0, 4.0]))}}
  theory.gradient_errors([1e-4, 1e-2], places, "mnist", tmp_path / "9.png")
  (ax,) = drawn["9.png"].axes
  assert ax.get_title() == "mnist, at the image"
  assert lines(ax)["margin"] == ([1e-4, 1e-2], [2.0, 20.0])
  assert ax.get_lines()[1].get_ydata()[0] == 3.0
