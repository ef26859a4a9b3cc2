"""Figures of records made by hand, by what they show: lines, bars, labels and values."""

import json
import pathlib

from handmade import bars
from handmade import captured
from handmade import lines
from handmade import sweep_over
from handmade import ticks
from handmade import write
import matplotlib.pyplot as plt
import numpy as np
import pytest

from harness.report import figures
from harness.report import tables
from orjax import records


@pytest.fixture
def drawn(monkeypatch):
  yield captured(monkeypatch)
  plt.close("all")


def test_figure_2_shows_success_and_accuracy_over_strengths(tmp_path, drawn):
  zoo = sweep_over({0.0: 1.0, 1e-4: 0.25, 1e-2: 0.0})
  zoo = [{**record, "claimed": True} if record["strength"] == 1e-2 else record for record in zoo]
  folders = [
    write(tmp_path / "zoo", zoo, accuracy={0.0: 0.99, 1e-4: 0.95, 1e-2: 0.9}),
    write(tmp_path / "ql", sweep_over({0.0: 1.0, 1e-2: 0.5}, attack="ql")),
    write(tmp_path / "targeted", sweep_over({0.0: 0.5}, targeted=True)),
  ]
  paths = figures.draw(folders, tmp_path / "out")
  assert [path.name for path in paths] == ["figure2.png"] == list(drawn)
  untargeted, targeted = drawn["figure2.png"].axes
  assert untargeted.get_title() == "mnist, untargeted"
  assert untargeted.get_xlabel() == "noise variance" and untargeted.get_xscale() == "log"
  assert ticks(untargeted.xaxis) == ["0", "0.0001", "0.01"]
  # Variance 0 is a decade below the smallest.
  assert lines(untargeted) == {
    "ZOO (n = 20): fools the clean model": ([1e-5, 1e-4, 1e-2], [1.0, 0.25, 0.0]),
    "claimed, by each": ([1e-5, 1e-4, 1e-2], [1.0, 0.25, 1.0]),
    "defended accuracy": ([1e-5, 1e-4, 1e-2], [0.99, 0.95, 0.9]),
    "QL (n = 20): fools the clean model": ([1e-5, 1e-2], [1.0, 0.5]),
  }
  band = untargeted.collections[0].get_paths()[0].vertices
  np.testing.assert_allclose(band[:, 1].min(), 0.0)
  assert any(np.allclose(vertex, [1e-4, records.wilson(5, 20)[1]]) for vertex in band)
  assert targeted.get_title() == "mnist, targeted" and ticks(targeted.xaxis) == ["0"]


def test_figure_2_gives_every_defense_its_curve_and_axis(tmp_path, drawn):
  both = [
    record
    for defense, share in (("rounding", 0.5), ("bending", 0.75))
    for record in sweep_over({1: 1.0, 3: share}, defense=defense)
  ]
  folders = [
    write(tmp_path / "both", both, axis="digits"),
    write(tmp_path / "noise", sweep_over({0.0: 0.5})),
  ]
  figures.draw(folders, tmp_path, "figure2")
  digits, noise = drawn["figure2.png"].axes
  assert (digits.get_xlabel(), noise.get_xlabel()) == ("digits", "noise variance")
  assert digits.get_xscale() == "linear" and ticks(digits.xaxis) == ["1", "3"]
  shown = lines(digits)
  assert shown["ZOO, rounding (n = 20): fools the clean model"] == ([1, 3], [1.0, 0.5])
  assert shown["ZOO, bending (n = 20): fools the clean model"] == ([1, 3], [1.0, 0.75])
  assert "ZOO (n = 20): fools the clean model" in lines(noise)


def test_figure_2_tells_a_stranger_s_settings_and_like_folders_apart(tmp_path, drawn):
  mine = [r for x in (1, 2) for r in sweep_over({0.0: 0.5}, attack="mine", setting={"beams": x})]
  figures.draw([write(tmp_path / "mine", mine)], tmp_path, "figure2")
  assert {
    "MINE, beams 1 (n = 20): fools the clean model",
    "MINE, beams 2 (n = 20): fools the clean model",
  } < set(lines(drawn["figure2.png"].axes[0]))
  alike = [write(tmp_path / name, sweep_over({0.0: 0.5})) for name in ("plain", "patient")]
  figures.draw(alike, tmp_path, "figure2")
  assert {
    "ZOO, plain (n = 20): fools the clean model",
    "ZOO, patient (n = 20): fools the clean model",
  } < set(lines(drawn["figure2.png"].axes[0]))


def test_averaging_shows_bars_by_answers(tmp_path, drawn):
  found = [
    record
    for count, shares in ((1, (0.0, 0.25)), (10, (0.5, 0.75)))
    for record in sweep_over(dict(zip((1e-4, 1e-2), shares)), num_samples=count)
  ]
  found = [
    {**record, "claimed": True} if record["num_samples"] == 1 else record for record in found
  ]
  paths = figures.draw([write(tmp_path, found, solver="newton")], tmp_path)
  assert [path.name for path in paths] == ["averaging.png"]
  (ax,) = drawn["averaging.png"].axes
  assert ax.get_title() == "zoo (newton), convnet_mnist, untargeted"
  assert ax.get_xlabel() == "noise variance" and ticks(ax.xaxis) == ["0.0001", "0.01"]
  shown = bars(ax)
  assert shown["k = 1"] == [0.0, 0.25] and shown["k = 10"] == [0.5, 0.75]
  assert shown["claimed"] == [1.0, 1.0]
  assert len(ax.get_legend().get_texts()) == 3


def test_averaging_has_a_panel_for_every_defense(tmp_path, drawn):
  found = [
    record
    for defense in ("rounding", "bending")
    for count in (1, 10)
    for record in sweep_over({1.0: 0.5}, num_samples=count, defense=defense)
  ]
  figures.draw([write(tmp_path, found, axis="digits")], tmp_path, "averaging")
  panels = drawn["averaging.png"].axes
  assert [ax.get_title() for ax in panels] == [
    "zoo, convnet_mnist, untargeted, rounding",
    "zoo, convnet_mnist, untargeted, bending",
  ]
  assert {ax.get_xlabel() for ax in panels} == {"digits"}


def test_spacings_shows_a_curve_by_strength(tmp_path, drawn):
  found = [
    record
    for spacing, shares in ((0.1, (1.0, 0.5)), (1e-4, (0.75, 0.0)))
    for record in sweep_over(dict(zip((0.0, 1e-2), shares)), setting={"spacing": spacing})
  ]
  paths = figures.draw([write(tmp_path, found)], tmp_path)
  assert [path.name for path in paths] == ["spacings.png"]
  (ax,) = drawn["spacings.png"].axes
  assert lines(ax) == {
    "noise variance 0": ([1e-4, 0.1], [0.75, 1.0]),
    "noise variance 0.01": ([1e-4, 0.1], [0.0, 0.5]),
  }
  assert (ax.get_xlabel(), ax.get_xscale(), ax.get_title()) == ("h", "log", "mnist, zoo")


def test_traces_show_both_losses(tmp_path, drawn):
  folder = write(tmp_path, sweep_over({0.0: 1.0, 2: 0.0}, setting={"spacing": 0.1}), axis="digits")
  traces = [
    {
      "index": 4,
      "strength": s,
      "num_samples": 3,
      "setting": {"spacing": 0.1},
      "losses": [s, 1, None],
      "without_noise": [5, 6, 7],
    }
    for s in (0.0, 2)
  ]
  records.write_json(tmp_path / "traces.json", {"num_images": 1, "traces": traces})
  figures.draw([folder], tmp_path, "traces")
  first, second = drawn["traces.png"].axes
  assert second.get_title() == "image 4, digits 2, 3 steps, k = 3, spacing 0.1"
  shown = lines(first)
  np.testing.assert_equal(shown["as the attack saw it"][1], [0, 1, np.nan])
  assert shown["without the defense"][1] == [5, 6, 7]


def test_pictures_show_what_was_kept(tmp_path, drawn):
  found = list(sweep_over({0.0: 1.0, 0.25: 0.0}))
  folder, arrays = write(tmp_path, found), {}
  for record in records.read(folder):
    if record["index"] in (3, 8):
      name = records.picture_name(record)
      image = np.full((2, 2, 1), record["index"] / 10, np.float32)
      arrays |= {f"{name}/image": image, f"{name}/adversarial": image + record["strength"]}
  records.add_pictures(folder, 0, arrays)
  figures.draw([folder], tmp_path, "pictures")
  axes = np.reshape(drawn["pictures.png"].axes, (2, 5))
  assert [ax.get_title() for ax in axes[0]] == [
    "class 7",
    "0: fools",
    "l2 1.50",
    "0.25: harmless",
    "l2 1.50, x2.0",
  ]
  assert axes[1, 0].images[0].get_array().max() == np.float32(0.8)
  np.testing.assert_allclose(axes[0, 4].images[0].get_array(), 1.0, atol=1e-2)


def test_pictures_of_a_sweep_are_told_apart_or_left_out(tmp_path, drawn):
  def folder(counts):
    found = [r for count in counts for r in sweep_over({1.0: 0.0}, num_samples=count, num_images=1)]
    path = write(tmp_path / str(len(counts)), found)
    names = map(records.picture_name, records.read(path))
    image = np.zeros((2, 2, 1))
    kept = {f"{name}/{what}": image for name in names for what in ("image", "adversarial")}
    records.add_pictures(path, 0, kept)
    return path

  figures.draw([folder((1, 10))], tmp_path, "pictures")
  titles = [ax.get_title() for ax in drawn["pictures.png"].axes]
  assert titles[1::2] == ["1, k = 1: harmless", "1, k = 10: harmless"]
  with pytest.raises(ValueError, match="of at most 6 strengths and settings, which"):
    figures.draw([folder(range(1, 8))], tmp_path, "pictures")


def test_a_figure_by_name_or_the_reason_why_not(tmp_path):
  folder = write(tmp_path / "zoo", sweep_over({0.0: 0.5}))
  with pytest.raises(
    ValueError, match="there is no figure figure99: pass one of averaging, figure10, figure13"
  ):
    figures.draw([folder], tmp_path, "figure99")
  for name in figures.FIGURES.keys() - {"figure2"}:
    with pytest.raises(
      ValueError, match=f"{name} shows .*, which .*zoo does not hold: pass another"
    ):
      figures.draw([folder], tmp_path, name)
  with pytest.raises(ValueError, match="named twice: pass each once"):
    figures.draw([folder, f"{folder}/../zoo"], tmp_path)
  assert figures.draw([folder], tmp_path / "new" / "out") == [
    tmp_path / "new" / "out" / "figure2.png"
  ]
  assert (tmp_path / "new" / "out" / "figure2.png").read_bytes().startswith(b"\x89PNG")


def test_folders_of_one_name_get_files_of_their_own(tmp_path, drawn):
  for place in ("a", "b"):
    folder = pathlib.Path(write(tmp_path / place / "zoo", sweep_over({0.0: 0.5})))
    trace = {"index": 0, "strength": 0.0, "num_samples": 1, "setting": {}}
    records.write_json(
      folder / "traces.json", {"traces": [{**trace, "losses": [1.0], "without_noise": [1.0]}]}
    )
  figures.draw([tmp_path / "a" / "zoo", tmp_path / "b" / "zoo"], tmp_path)
  assert list(drawn) == ["figure2.png", "traces_a_zoo.png", "traces_b_zoo.png"]


def test_an_old_ledger_gives_the_new_one_s_table_and_figure(tmp_path, drawn):
  found = sweep_over({0.0: 1.0, 1e-4: 0.5, 1e-2: 0.0})
  new = write(tmp_path / "new", found)
  old = tmp_path / "old"
  old.mkdir()
  content = ""
  for record in records.read(new):
    record["variance"] = record.pop("strength")
    del record["trained_with"]
    content += json.dumps(record) + "\n"
  (old / "records.jsonl").write_text(content)
  (old / "accuracy.json").write_bytes((tmp_path / "new" / "accuracy.json").read_bytes())
  asked = {"attack": "zoo", "variance": [0.0, 1e-4, 1e-2], "num_samples": [1], "defense": "none"}
  records.write_json(old / "manifest.json", {"asked": asked, "about": {"devices": ["cpu"]}})
  assert tables.attacks(old) == tables.attacks(new)
  figures.draw([old], tmp_path / "of_old")
  of_old = lines(drawn.pop("figure2.png").axes[0])
  figures.draw([new], tmp_path / "of_new")
  assert of_old == lines(drawn["figure2.png"].axes[0])


def test_figure_10_has_both_defenses_over_variances(tmp_path, drawn):
  def ensemble(name, stddev, share, accuracy, spacing):
    setting = {"spacing": spacing}
    fields = {"defense": "inner_noise_mean10", "trained_with": "rse", "model": f"rse{stddev:g}"}
    found = sweep_over({stddev: share}, setting=setting, **fields)
    return write(tmp_path / name, found, axis="stddev inside", accuracy={stddev: accuracy})

  def noise(name, shares, spacing):
    found = sweep_over(shares, setting={"spacing": spacing})
    return write(tmp_path / name, found, accuracy=dict.fromkeys(shares, 0.75))

  folders = [
    noise("noise", {0.0: 1.0, 1e-4: 0.05, 1e-2: 0.0}, 1e-4),
    ensemble("small", 0.01, 0.5, 0.7, 1e-4),
    ensemble("large", 0.1, 0.25, 0.6, 1e-4),
    noise("wide_noise", {1e-4: 0.6}, 0.1),
    ensemble("wide", 0.1, 0.9, 0.6, 0.1),
  ]
  figures.draw(folders, tmp_path, "figure10")
  left, right = drawn["figure10.png"].axes
  x = [1e-5, 1e-4, 1e-2]
  assert lines(left) == {
    "output noise, spacing 0.0001 (n = 20)": (x, [1.0, 0.05, 0.0]),
    "self-ensembling, spacing 0.0001 (n = 20)": (x[1:], [0.5, 0.25]),
    "output noise, spacing 0.1 (n = 20)": ([1e-4], [0.6]),
    "self-ensembling, spacing 0.1 (n = 20)": ([1e-2], [0.9]),
  }
  styles = [line.get_linestyle() for line in left.get_lines()]
  assert styles == ["-", "-", "--", "--"] and ticks(left.xaxis) == ["0", "0.0001", "0.01"]
  assert lines(right) == {"output noise": (x, [0.75] * 3), "self-ensembling": (x[1:], [0.7, 0.6])}
  with pytest.raises(ValueError, match="figure10 shows an attack through output noise in one"):
    figures.draw(folders[1:3], tmp_path, "figure10")
