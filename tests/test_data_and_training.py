"""Data sets, networks, training and checkpoints."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import checkpoints
from orjax import datasets
from orjax import evaluation
from orjax import models
from orjax import training
from orjax.models import convnet


@pytest.mark.parametrize("file", [None, "moved.csv.gz"])
def test_digits_are_scikit_learns(file, monkeypatch):
  monkeypatch.setattr(datasets, "_DIGITS_FILE", file or datasets._DIGITS_FILE)
  load_digits = pytest.importorskip("sklearn.datasets").load_digits
  theirs = load_digits()
  parts = [datasets.load("digits", split) for split in ("train", "test")]
  pairs = sorted((image.tobytes(), label) for part in parts for image, label in zip(*part))
  expected = np.round(theirs.images * (255 / 16)).astype(np.uint8)
  assert pairs == sorted((x.tobytes(), y) for x, y in zip(expected, theirs.target))


def test_digits_are_embedded_split_and_fixed():
  train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
  assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
  assert train.images.dtype == np.uint8 and train.images.max() == 255
  assert set(test.labels) == set(range(10))
  np.testing.assert_array_equal(test.labels, datasets.load("digits", "test").labels)
  rows = {x.tobytes() for x in train.images}
  assert np.mean([x.tobytes() in rows for x in test.images]) < 0.01


def test_cache_serves_a_tfds_set_without_tfds(tmp_path, monkeypatch):
  images = np.arange(28 * 28 * 2, dtype=np.uint8).reshape(2, 28, 28, 1)
  calls = []

  def decode(name, split, root):
    calls.append((name, split))
    return datasets.Dataset(images, np.array([3, 4], np.int32))

  monkeypatch.setattr(datasets, "_from_tfds", decode)
  (tmp_path / "mnist").mkdir()
  first = datasets.load("mnist", "test", str(tmp_path))
  second = datasets.load("mnist", "test", str(tmp_path))
  assert calls == [("mnist", "test")]
  np.testing.assert_array_equal(first.images, second.images)
  np.testing.assert_array_equal(second.labels, [3, 4])


@pytest.mark.filterwarnings("ignore")  # TFDS's own
def test_missing_data_says_what_to_run(tmp_path):
  with pytest.raises(FileNotFoundError, match="download_and_prepare.*--data_dir"):
    datasets.load("mnist", "test", str(tmp_path))
  with pytest.raises(ValueError, match="unknown data set 'svhn': choose one of digits"):
    datasets.load("svhn", "test")
  with pytest.raises(ValueError, match="unknown split"):
    datasets.load("digits", "validation")


@pytest.mark.parametrize(
  "name, shape", [("mnist", (10000, 28, 28, 1)), ("cifar10", (10000, 32, 32, 3))]
)
@pytest.mark.filterwarnings("ignore")  # TFDS's own
def test_real_data_if_it_is_there(name, shape):
  try:
    test = datasets.load(name, "test")
  except FileNotFoundError as e:
    pytest.skip(str(e))
  assert test.images.shape == shape and np.bincount(test.labels).min() > 800


def test_selection_and_targets():
  labels = np.array([0, 1, 2, 3])
  chosen = datasets.correctly_classified(np.array([0, 0, 2, 3]), labels, 2)
  np.testing.assert_array_equal(chosen, [0, 2])
  with pytest.raises(ValueError, match="num_images=4 is more than the 3"):
    datasets.correctly_classified(np.array([0, 0, 2, 3]), labels, 4)
  assert datasets.targets(0, 5, 3, 10, draw=False) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
  drawn = [datasets.targets(0, i, 3, 10, draw=True)[0] for i in range(300)]
  assert set(drawn) == set(range(10)) - {3}
  assert drawn == [datasets.targets(0, i, 3, 10, draw=True)[0] for i in range(300)]


@pytest.mark.parametrize(
  "name, num_parameters",
  [("convnet_mnist", 312_202), ("convnet_cifar10", 1_147_978), ("convnet_digits", 86_250)],
)
def test_parameter_counts(name, num_parameters):
  classifier = models.build(name)
  variables = jax.eval_shape(classifier.init, jax.random.key(0))
  assert sum(x.size for x in jax.tree.leaves(variables)) == num_parameters
  images = jax.ShapeDtypeStruct((2, *classifier.image_shape), jnp.float32)
  logits = jax.eval_shape(classifier.apply, variables, images)
  assert logits.shape == (2, classifier.num_classes)


def test_unknown_model_is_refused():
  with pytest.raises(ValueError, match="unknown model 'vgg': choose one of convnet"):
    models.build("vgg")


def test_max_pool_and_its_gradient():
  x = jax.random.normal(jax.random.key(0), (2, 6, 4, 3))
  expected = np.asarray(x).reshape(2, 3, 2, 2, 2, 3).max((2, 4))
  np.testing.assert_array_equal(convnet.max_pool(x), expected)
  weights = jax.random.normal(jax.random.key(1), expected.shape)
  gradient = jax.grad(lambda x: (convnet.max_pool(x) * weights).sum())(x)
  plain = jax.grad(lambda x: (convnet._pool_by_reshape(x) * weights).sum())(x)
  np.testing.assert_array_equal(gradient, plain)
  assert np.count_nonzero(gradient) == weights.size


def test_batches_resume_and_cover():
  endless = training.batches(0, 10, 3, 0)
  first = [next(endless) for _ in range(7)]
  assert len(np.unique(np.concatenate(first[:3]))) == 9
  assert (np.concatenate(first[:3]) != np.concatenate(first[3:6])).any()
  resumed = training.batches(0, 10, 3, 4)
  for i in range(4, 7):
    np.testing.assert_array_equal(next(resumed), first[i])


def _fit(directory, num_steps, **meta):
  classifier = models.build("convnet_digits")
  return training.fit(
    training.trainer(classifier, training.zoo_optimizer()),
    datasets.load("digits", "train"),
    seed=0,
    num_steps=num_steps,
    batch_size=128,
    directory=str(directory),
    meta={"model": "m", **meta},
    apply=lambda variables, key, images: classifier.apply(variables, images),
    test=datasets.load("digits", "test"),
    seconds_between_saves=0,
    devices=jax.devices()[:1],
  )


def test_interrupted_training_ends_in_the_same_bits(tmp_path, monkeypatch):
  whole = _fit(tmp_path / "whole", 40)
  save, count = checkpoints.save, []

  def dying_save(*args):
    save(*args)
    count.append(1)
    raise KeyboardInterrupt

  for _ in range(3):  # dies after steps 10, 20 and 30
    monkeypatch.setattr(checkpoints, "save", dying_save)
    with pytest.raises(KeyboardInterrupt):
      _fit(tmp_path / "killed", 40)
  monkeypatch.setattr(checkpoints, "save", save)
  resumed = _fit(tmp_path / "killed", 40)
  assert len(count) == 3
  jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
  assert resumed.meta == whole.meta and whole.meta["finished"]
  lines = [
    (tmp_path / name / training.METRICS).read_text().splitlines() for name in ("whole", "killed")
  ]
  assert [len(found) for found in lines] == [4, 4]
  for one, other in zip(*map(lambda found: map(json.loads, found), lines)):
    assert one.pop("images_per_second") > 0 and other.pop("images_per_second") > 0
    assert one == other
  # A finished run is handed back, or continued for more steps, and never taken for a shorter.
  assert _fit(tmp_path / "whole", 40).meta == whole.meta
  assert _fit(tmp_path / "whole", 41).meta["num_steps"] == 41
  with pytest.raises(ValueError, match="was trained for 41 steps already, not 40"):
    _fit(tmp_path / "whole", 40)


def test_checkpoint_of_another_model_is_refused(tmp_path):
  _fit(tmp_path, 2, dataset="digits")
  with pytest.raises(ValueError, match="has dataset='digits', not 'mnist'"):
    _fit(tmp_path, 2, dataset="mnist")


def test_fingerprint_sees_every_parameter():
  variables = {"a": np.zeros(3, np.float32), "b": {"c": np.ones(2, np.float32)}}
  changed = {"a": np.zeros(3, np.float32), "b": {"c": np.array([1, 1 + 1e-6], np.float32)}}
  assert checkpoints.fingerprint(variables) == checkpoints.fingerprint(variables)
  assert checkpoints.fingerprint(variables) != checkpoints.fingerprint(changed)


def test_predictions_do_not_depend_on_the_batch_size(digits_model):
  classifier, variables, _ = digits_model
  test = datasets.load("digits", "test")
  query = lambda variables, key, images: classifier.apply(variables, images)
  small, large = (
    evaluation.predict_classes(query, variables, jax.random.key(0), test.images, batch_size=size)
    for size in (64, 512)
  )
  np.testing.assert_array_equal(small, large)
  with pytest.raises(FloatingPointError, match="NaN or infinity on clean images"):
    evaluation.predict_classes(
      lambda v, k, x: query(v, k, x) * jnp.nan, variables, jax.random.key(0), test.images[:5]
    )
