"""The law of probe lengths beside attacks: where the loss is linear, and through the main."""

import json

from handmade import sweep_over
from handmade import write
import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from conftest import linear_logits
from conftest import linear_variables
from harness.classifiers.model import from_jax
from harness.report import ledgers
from harness.report import query_law as report
from harness.studies import query_law
from orjax import defenses
from orjax import objectives
from orjax import theory

_RADIUS = 0.05
_SHAPE = (4, 4, 1)


@pytest.mark.parametrize("tiles", [None, 2])
def test_where_the_loss_is_linear_slope_and_gain_are_its_own(tiles, linear_images):
  """The log margin of two classes of a linear softmax is linear."""
  images, labels = linear_images
  variables = linear_variables()
  model = from_jax(linear_logits, variables, _SHAPE, 3, "linear")
  probes = query_law.Probes(0.01, tiles)
  objective, defense = objectives.log_margin(), defenses.output_noise()
  place = query_law.measure(model, objective, defense, [0.0, 1e-6], probes, _RADIUS)
  logits = np.array(linear_logits(variables, images[:1])[0], np.float64)
  label = int(labels[0])
  rival = int(np.argsort(logits)[-2])
  slopes = np.asarray(variables["weights"], np.float64)
  slopes = (slopes[:, label] - slopes[:, rival]).reshape(4, 4)
  if tiles:
    slopes = slopes.reshape(2, 2, 2, 2).sum((1, 3))
  found = place(jax.random.key(0), jnp.asarray(images[0]), jnp.int32(label))
  np.testing.assert_allclose(found.margin, logits[label] - logits[rival], rtol=1e-4)
  size = 4 if tiles else 1  # pixels of a tile, whose direction has length 1
  np.testing.assert_allclose(found.slope, np.linalg.norm(slopes) / size**0.5, rtol=0.08)
  np.testing.assert_allclose(found.gain, _RADIUS * np.abs(slopes).sum(), rtol=0.08)
  probs = np.asarray(jax.nn.softmax(logits))
  noise = 1e-3 * np.hypot(1 / probs[label], 1 / probs[rival])
  np.testing.assert_allclose(found.noise, [0, noise], rtol=0.2, atol=1e-6)
  wanted = theory.nes_queries(
    found.margin,
    _RADIUS,
    found.gain / _RADIUS,
    4 if tiles else 16,
    theory.noise_to_signal(found.noise, 0.01, found.slope),
    norm="linf",
  )
  asked = query_law.predicted(found, probes, _RADIUS, _SHAPE)
  np.testing.assert_array_equal(asked, wanted)
  assert np.isinf(asked).all() or asked[1] > asked[0] > 0


def test_no_slope_is_no_finite_number_of_queries():
  flat = query_law.Place(*map(jnp.float32, (1.0, 0.0, 0.0)), jnp.array([0.0, 1.0]))
  found = query_law.predicted(flat, query_law.Probes(0.1), _RADIUS, _SHAPE)
  assert found.tolist() == [np.inf, np.inf]


def test_every_attack_s_probes_are_as_long_as_it_makes_them():
  ql, spsa, bandits = (query_law.PROBES[name] for name in ("ql", "spsa", "bandits"))
  assert ql({"smoothing": 0.1}, (28, 28, 1)) == query_law.Probes(0.1)
  assert spsa({"spacing": [0.01]}, (28, 28, 1)) == query_law.Probes(0.01)
  of_tiles = bandits({"spacing": 0.1, "prior_size": 8}, (28, 28, 3))
  assert of_tiles.tiles == 8 and of_tiles.scale * (8 * 8 * 3) ** 0.5 == pytest.approx(0.1)
  of_pixels = bandits({"spacing": 0.1, "prior_size": 0}, (28, 28, 1))
  assert of_pixels.tiles is None and of_pixels.scale * 28 == pytest.approx(0.1)


def test_the_report_tells_what_did_not_fall(tmp_path):
  half = sweep_over({0.0: 1.0, 1e-2: 0.4}, attack="ql", num_queries=200)
  ledger = ledgers.load(write(tmp_path / "ql" / "published", half, max_queries=1000))
  rows = [report.row(ledger, list(range(20)), s, np.full(20, 400.0)) for s in (0.0, 1e-2)]
  assert [row["used"] for row in rows] == [[200.0] * 3, [200.0, None, None]]
  assert [row["success"] for row in rows] == [1.0, 0.4]
  lines = report.table(rows).splitlines()
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:4]]
  assert cells == [
    ["ql, published", "0", "400 [400, 400]", "200 [200, 200]", "2", "1.00"],
    ["ql, published", "0.01", "400 [400, 400]", "- [200, -]", "-", "0.40"],
  ]
  assert "within 1000 queries" in lines[-1]


def test_the_main_compares_attacks_on_a_network(digits_model, tmp_path):
  shared = f"--model_dir={digits_model[2].parent}"
  flags = ("--attack=ql", "--num_images=4", "--max_queries=3000", "--num_pictures=0")
  folder = tmp_path / "ql" / "published"
  mains.run("blackbox_attacks", shared, *flags, "--variance=0", f"--out={folder}")
  out = tmp_path / "law"
  mains.run("query_law", shared, f"--records={folder}", "--num_images=3", f"--out={out}")
  [row] = json.loads((out / "query_law.json").read_text())["rows"]
  assert row["attack"] == "ql, published" and row["num_images"] == 3
  # Within a factor of ten where there is a prediction: the loss of a network is not linear.
  assert 0.1 < row["predicted"][0] / row["used"][0] < 10
  assert (out / "query_law.png").exists() and "ql, published" in (out / "query_law.md").read_text()
  square = write(tmp_path / "square" / "published", sweep_over({0.0: 1.0}, attack="square"))
  with pytest.raises(ValueError, match="is of square: the law is of attacks that estimate"):
    mains.run("query_law", shared, f"--records={square}", f"--out={out}")
  other = sweep_over({0.0: 1.0}, attack="ql")
  other = write(tmp_path / "ql" / "other", other, model="0", radius=0.3, smoothing=0.1)
  with pytest.raises(ValueError, match="is of another classifier"):
    mains.run("query_law", shared, f"--records={other}", f"--out={out}")
  with pytest.raises(ValueError, match="--records is missing"):
    mains.asked("query_law")
