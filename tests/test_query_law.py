"""The law of probe lengths beside attacks: where the loss is linear, and through the main."""

import json

from handmade import captured
from handmade import sweep_over
from handmade import write
import jax
import jax.numpy as jnp
import mains
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.special

from conftest import linear_logits
from conftest import linear_variables
from harness.classifiers.model import from_jax
from harness.report import ledgers
from harness.report import query_law as report
from harness.report.figures import theory
from harness.studies import query_law
from orjax import defenses
from orjax import objectives

_RADIUS = 0.3
_SHAPE = (4, 4, 1)


def _slopes(image, label):
  """Of the log margin of a linear softmax, which is linear: margin, and gradient [4, 4, 1]."""
  logits = np.array(linear_logits(linear_variables(), image[None])[0], np.float64)
  rival = int(np.argsort(logits)[-2])
  weights = np.asarray(linear_variables()["weights"], np.float64)
  gradient = (weights[:, label] - weights[:, rival]).reshape(_SHAPE)
  return logits, rival, gradient


def _place(
  image, label, probes, objective=objectives.log_margin(), apply=linear_logits, on_the_way=0.0
):
  model = from_jax(apply, linear_variables(), _SHAPE, 3, "linear")
  place = query_law.measure(
    model, objective, defenses.output_noise(), [0.0, 1e-5], probes, _RADIUS, on_the_way
  )
  return place(jax.random.key(0), jnp.asarray(image), jnp.int32(label))


@pytest.mark.parametrize("signs", [False, True])
def test_where_the_loss_is_linear_slope_and_gain_are_its_own(signs, linear_images):
  image, label = linear_images[0][0], int(linear_images[1][0])
  probes = query_law.Probes(0.01, signs)
  logits, rival, gradient = _slopes(image, label)
  found = _place(image, label, probes)
  np.testing.assert_allclose(found.margin, logits[label] - logits[rival], rtol=1e-4)
  np.testing.assert_allclose(found.slope, np.linalg.norm(gradient), rtol=1e-4)
  room = np.where(gradient > 0, image, 1 - image)
  gain = (np.abs(gradient) * np.minimum(_RADIUS, room)).sum()
  np.testing.assert_allclose(found.gain, gain, rtol=1e-4)
  probs = np.asarray(jax.nn.softmax(logits))
  noise = 10**-2.5 * np.hypot(1 / probs[label], 1 / probs[rival])
  np.testing.assert_allclose(found.noise, [0, noise], rtol=0.2, atol=1e-6)
  needed = (logits[label] - logits[rival]) / gain
  noiseless = 2 * 16 * scipy.special.ndtri((1 + needed) / 2) ** 2
  rho = (noise / 0.01 / np.linalg.norm(gradient)) ** 2 / 2
  assert 0 < needed < 1 and rho > 0.01
  asked = query_law.predicted(found, probes, _RADIUS, 16)
  np.testing.assert_allclose(asked[0], noiseless, rtol=1e-3)
  np.testing.assert_allclose(asked[1] / asked[0] - 1, rho, rtol=0.4)


def test_on_the_way_what_is_left_is_left_to_gain(linear_images):
  image, label = linear_images[0][0], int(linear_images[1][0])
  probes = query_law.Probes(0.01)
  whole, rest = (_place(image, label, probes, on_the_way=x) for x in (0.0, 0.2))
  moved = 0.2 * _RADIUS * np.abs(_slopes(image, label)[2]).sum()  # far from the faces of the box
  np.testing.assert_allclose(whole.margin - rest.margin, moved, rtol=1e-3)
  np.testing.assert_allclose(whole.gain - rest.gain, moved, rtol=1e-3)
  assert rest.noise[1] < whole.noise[1], "the second class is more probable there"


def test_differences_of_clipped_probes_see_half_of_a_pixel_at_the_edge(linear_images):
  label = int(linear_images[1][0])
  image = linear_images[0][0].copy()
  image[:2] = 0
  _, _, gradient = _slopes(image, label)
  slope = lambda signs: _place(image, label, query_law.Probes(1e-3, signs)).slope
  halved = np.concatenate([gradient[:2] / 2, gradient[2:]])
  np.testing.assert_allclose(slope(False), np.linalg.norm(gradient), rtol=1e-3)
  np.testing.assert_allclose(slope(True), np.linalg.norm(halved), rtol=1e-3)


def test_long_probes_see_the_slope_of_where_they_are(linear_images):
  """A margin that is flat at the image, as a saturated softmax is, is not so far away."""
  image, label = linear_images[0][0], int(linear_images[1][0])
  steep = lambda variables, images: 30 * linear_logits(variables, images)
  margin = objectives.margin(confidence=1.0)
  short, long = (_place(image, label, query_law.Probes(h), margin, steep) for h in (1e-4, 0.3))
  assert long.slope > 100 * short.slope


def test_no_slope_is_no_finite_number_of_queries():
  flat = query_law.Place(*map(jnp.float32, (1.0, 0.0, 0.0)), jnp.array([0.0, 1.0]))
  found = query_law.predicted(flat, query_law.Probes(0.1), _RADIUS, 16)
  assert found.tolist() == [np.inf, np.inf]


def test_every_attack_s_probes_are_as_it_makes_them():
  assert query_law.PROBES["ql"]({"smoothing": 0.1}) == query_law.Probes(0.1)
  assert query_law.PROBES["spsa"]({"spacing": 0.01}) == query_law.Probes(0.01, signs=True)


def test_the_figure_says_where_the_law_finds_no_step(monkeypatch, tmp_path):
  drawn = captured(monkeypatch)
  row = {"axis": "noise variance", "false_claims": 0.0, "spent": 1000}
  rows = [
    {**row, "attack": "ql", "strength": 0.0, "predicted": [1, 50, 2], "used": [1, 100, 2]},
    {**row, "attack": "ql", "strength": 0.1, "predicted": [1, 50, 2], "used": [None] * 3},
    {**row, "attack": "spsa", "strength": 0.0, "predicted": [None] * 3, "used": [1, 100, 2]},
    {**row, "attack": "spsa", "strength": 0.1, "predicted": [None] * 3, "used": [None] * 3},
  ]
  theory.query_law(rows, tmp_path / "law.png")
  (axes,) = drawn["law.png"].axes
  marks = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata())]
  plt.close("all")
  found = [(m.get_ydata()[0], m.get_marker(), m.get_markerfacecolor() != "none") for m in marks]
  assert found == [(0.5, "o", True), (1.04, "^", True), (0.05, "v", False), (1.04, "^", False)]
  assert [text.get_text() for text in axes.texts] == ["never"]


def test_the_report_tells_what_did_not_fall_and_what_was_claimed_falsely(tmp_path):
  trials = sweep_over({0.0: 1.0, 1e-2: 0.4}, attack="ql", num_queries=200)
  lost = {"num_queries": 1000, "claimed": False}
  false = {"num_queries": 50, "claimed": True}
  trials = [
    r if r["clean_success"] else {**r, **(false if r["index"] >= 15 else lost)} for r in trials
  ]
  ledger = ledgers.load(write(tmp_path / "ql" / "published", trials))
  rows = [report.row(ledger, list(range(20)), s, np.full(20, 400.0)) for s in (0.0, 1e-2)]
  # Of 15 that were no false claims 8 fell.
  assert [row["used"] for row in rows] == [[200.0] * 3, [200.0, 200.0, None]]
  assert [row["false_claims"] for row in rows] == [0.0, 0.25]
  assert [row["spent"] for row in rows] == [200, 1000]
  lines = report.table(rows).splitlines()
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:4]]
  assert cells == [
    ["ql, published", "0", "400 [400, 400]", "200 [200, 200]", "2", "0.00"],
    ["ql, published", "0.01", "400 [400, 400]", "200 [200, -]", "2", "0.25"],
  ]
  none = sweep_over({0.0: 0.5}, attack="ql")
  ledger = ledgers.load(write(tmp_path / "ql" / "half", none))
  row = report.row(ledger, list(range(20)), 0.0, np.full(20, np.inf))
  assert row["used"] == [100.0, None, None] and row["predicted"] == [None] * 3


def test_the_main_compares_attacks_on_a_network(digits_model, tmp_path):
  shared = f"--model_dir={digits_model[2].parent}"
  flags = ("--attack=ql", "--num_images=4", "--max_queries=3000", "--num_pictures=0")
  folder = tmp_path / "ql" / "published"
  mains.run("blackbox_attacks", shared, *flags, "--variance=0", f"--out={folder}")
  out = tmp_path / "law"
  mains.run("query_law", shared, f"--records={folder}", "--num_images=3", f"--out={out}")
  [row] = json.loads((out / "query_law.json").read_text())["rows"]
  assert row["attack"] == "ql, published" and row["num_images"] == 3
  assert row["used"][1] > 50 and row["false_claims"] == 0
  assert (out / "query_law.png").exists() and "ql, published" in (out / "query_law.md").read_text()
  for changes, message in (
    ({"attack": "square"}, "is of square: the law is of attacks that estimate"),
    ({"norm": "l2"}, "has norm=l2: the law is of norm=linf here"),
    ({"num_samples": [10]}, r"has num_samples=\[10\]"),
    ({"objective": "cross_entropy"}, "is of cross_entropy through output_noise"),
    ({"defense": "rounded"}, "is of log_margin through rounded"),
    ({"model": "0"}, "is of another classifier"),
  ):
    trials = sweep_over({0.0: 1.0}, **{"attack": "ql", "dataset": "digits"})
    asked = {"objective": "log_margin", "radius": 0.3, "smoothing": 0.1, **changes}
    other = write(tmp_path / str(changes) / "one", trials, **asked)
    with pytest.raises(ValueError, match=message):
      mains.run("query_law", shared, f"--records={other}", f"--out={out}")
  with pytest.raises(ValueError, match="--records is missing"):
    mains.asked("query_law")
