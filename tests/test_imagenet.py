"""ImageNet: crops, splits, the example model, memory."""

import pathlib

import jax
import jax.numpy as jnp
import mobilenet
import numpy as np
import pytest

from orjax import attacks
from orjax import datasets
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import runner
from orjax.threats import threat_model

DATA = pathlib.Path("~/tensorflow_datasets").expanduser()


def test_centre_crop_keeps_proportions_and_the_middle():
  image = np.zeros((60, 100, 3), np.uint8)
  image[:, 20:80] = 200  # the central square
  found = datasets.centre_crop(image, (30, 30))
  assert found.shape == (30, 30, 3) and found.dtype == np.uint8 and (found == 200).all()
  assert datasets.centre_crop(image, (60, 100)) is not None
  np.testing.assert_array_equal(datasets.centre_crop(image, (60, 100)), image)
  ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (64, 64, 3))
  half = datasets.centre_crop(ramp, (32, 32))[:, 0, 0].astype(float)
  # Each output is the antialiased mean of its two inputs, away from the rim.
  np.testing.assert_allclose(half[2:-2], 8 * np.arange(32)[2:-2] + 2, atol=1)
  wide = datasets.centre_crop(np.zeros((10, 300, 3), np.uint8), (224, 112))
  assert wide.shape == (224, 112, 3), "small images are enlarged"


def test_imagenet_needs_a_shape_and_says_what_is_missing(tmp_path):
  with pytest.raises(ValueError, match="pass the model's"):
    datasets.load("imagenet2012", "validation", str(tmp_path))
  with pytest.raises(FileNotFoundError, match="imagenet2012 is not under"):
    datasets.load("imagenet2012", "validation", str(tmp_path), image_shape=(8, 8, 3))


def test_real_images_if_they_are_there():
  try:
    found = datasets.load("imagenet2012", "validation", image_shape=(64, 64, 3), num_images=5)
  except (FileNotFoundError, ValueError) as e:
    pytest.skip(str(e))
  assert found.images.shape == (5, 64, 64, 3) and found.images.std() > 20
  assert len(set(found.labels.tolist())) > 1
  with pytest.raises(ValueError, match="has no split 'nowhere': choose one of"):
    datasets.load("imagenet2012", "nowhere", image_shape=(64, 64, 3))


@pytest.mark.parametrize("size, stride", [(8, 1), (8, 2), (7, 1), (7, 2), (1, 2)])
def test_shifted_products_are_the_depthwise_convolution(size, stride):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, size, size, 6)).astype(np.float32)
  layer = {
    "kernel": rng.normal(size=(3, 3, 1, 6)).astype(np.float32),
    "bias": rng.normal(size=6).astype(np.float32),
  }
  wanted = jax.lax.conv_general_dilated(
    x,
    layer["kernel"],
    (stride, stride),
    "SAME",
    feature_group_count=6,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  np.testing.assert_allclose(
    mobilenet.depthwise(layer, jnp.asarray(x), stride),
    np.clip(np.asarray(wanted) + layer["bias"], 0, 6),
    atol=1e-5,
  )


def test_the_example_model_needs_its_weights(monkeypatch):
  monkeypatch.delenv("MOBILENET_WEIGHTS", raising=False)
  with pytest.raises(ValueError, match="MOBILENET_WEIGHTS names no .npz file"):
    mobilenet.mobilenet_075_224()


def test_large_images_and_ensembles_get_fewer_slots(monkeypatch):
  task = lambda side: runner.Task({}, np.zeros((side, side, 3), np.float32), 0, 0, 0, {})
  clean = lambda variables: oracles.from_predict(
    lambda v, x: jnp.zeros((len(x), 3)) + v, variables, rows_per_call=16
  )
  threats = threat_model(clean, defenses.no_defense())
  attack = attacks.zoo(objectives.log_margin(), num_coordinates=128)
  choose = lambda side, **more: runner.choose_slots(
    attack, threats, jnp.float32(0), [task(side)] * 100, **more
  )
  assert [choose(32), choose(224)] == [7, 1]
  # The passes of an ensemble fill a device as rows do, and leave the number of rounds alone.
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert [choose(32), choose(32, passes=5), choose(32, passes=10)] == [12, 12, 6]


@pytest.mark.parametrize("rows_per_call", [1, 5, 16, 100])
def test_rows_per_call_bounds_every_call_and_changes_no_answer(rows_per_call):
  seen = []

  def predict(images):
    seen.append(len(images))
    return jnp.stack([images.sum((1, 2, 3)), -images.mean((1, 2, 3))], -1)

  images = jnp.asarray(np.random.default_rng(0).integers(0, 9, (4, 7, 2, 2, 1)), jnp.float32)
  some = oracles.from_predict(predict, rows_per_call=rows_per_call)
  query = lambda oracle: jax.jit(jax.vmap(lambda x: oracle.query(None, x)))(images)
  answers = query(some)
  # A lone query's shapes are looked at too, before the vmap makes it 28 rows.
  assert max(seen) <= rows_per_call
  np.testing.assert_array_equal(answers, query(oracles.from_predict(predict)))
  seen.clear()
  gradient = lambda oracle: jax.grad(lambda x: oracle.query(None, x)[:, 0].sum())(images[0])
  np.testing.assert_array_equal(gradient(some), np.ones((7, 2, 2, 1)))
  assert seen and max(seen) <= rows_per_call
  with pytest.raises(ValueError, match="rows_per_call must be at least 1"):
    oracles.from_predict(predict, rows_per_call=0)
