"""Defensive distillation: the loss, the recipe's three trainings, and what a kill leaves of it."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import conftest
from orjax import checkpoints
from orjax import datasets
from orjax import training
from orjax.models import Classifier
from orjax.training import distillation

_TEMPERATURE = 20.0
_STEPS = 30


def _linear():
  """The linear model, drawn from the key, with pixels dropped in training."""
  apply = lambda variables, x: conftest.linear_logits(variables["params"], x)

  def init(key):
    weights = jax.random.normal(key, (16, conftest.NUM_CLASSES))
    return {"params": {"weights": weights, "bias": jnp.zeros(conftest.NUM_CLASSES)}}

  def apply_train(variables, key, x):
    return apply(variables, jnp.where(jax.random.bernoulli(key, 0.8, x.shape), x, 0)), variables

  return Classifier(
    init,
    apply,
    lambda variables, keys, x: apply(variables, x),
    apply_train,
    conftest.IMAGE_SHAPE,
    conftest.NUM_CLASSES,
  )


def _data(num_images=200):
  """Images that the linear model of `conftest` labels."""
  images = np.random.default_rng(0).integers(0, 256, (num_images, *conftest.IMAGE_SHAPE))
  images = images.astype(np.uint8)
  logits = conftest.linear_logits(conftest.linear_variables(), datasets.to_float(images))
  return datasets.Dataset(images, np.asarray(logits.argmax(-1)))


def _softmax(logits):
  e = np.exp(logits - logits.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def _distil(folder, **options):
  model = _linear()
  return training.distill(
    model,
    optax.sgd(0.5, momentum=0.9),
    _data(),
    **{
      "temperature": _TEMPERATURE,
      "seed": 3,
      "num_steps": _STEPS,
      "batch_size": 8,
      "directory": str(folder),
      "meta": {"model": "m"},
      "apply": lambda variables, key, x: model.apply(variables, x),
      "test": _data(50),
      "devices": jax.devices()[:1],
      "seconds_between_saves": 1000.0,
      **options,
    },
  )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  """A folder, and the fits that were asked for: (trainer, data, options) each."""
  folder, asked = tmp_path_factory.mktemp("undisturbed"), []

  def fit(trainer, data, **options):
    asked.append((trainer, data, options))
    return training.fit(trainer, data, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(distillation, "fit", fit)
    _distil(folder)
  return folder, asked


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 100.0])
def test_the_loss_is_cross_entropy_of_divided_logits(soft, temperature):
  model, data = _linear(), _data(32)
  model = model._replace(apply_train=lambda v, key, x: (model.apply(v, x), v))
  classes = np.eye(conftest.NUM_CLASSES)[data.labels]
  targets = _softmax(np.random.default_rng(1).normal(size=classes.shape)) if soft else classes
  labels = targets.astype(np.float32) if soft else data.labels
  trainer = training.trainer(model, optax.sgd(1.0), temperature=temperature)
  state = trainer.init(jax.random.key(0))
  after, metrics = jax.jit(trainer.step)(jax.random.key(1), state, data.images, labels)
  x = data.images.reshape(32, -1) / 255
  weights = np.asarray(state.variables["params"]["weights"], np.float64)
  answers = _softmax(x @ weights / temperature)
  loss = -(targets * np.log(answers)).sum(-1).mean()
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
  right = (x @ weights).argmax(-1) == targets.argmax(-1)
  np.testing.assert_allclose(metrics["accuracy"], right.mean(), rtol=1e-6)
  slope = x.T @ (answers - targets) / 32 / temperature
  moved = weights - np.asarray(after.variables["params"]["weights"], np.float64)
  np.testing.assert_allclose(moved, slope, rtol=1e-2, atol=1e-6)


def test_soft_labels_are_softened_answers_at_test_time():
  images = np.resize(_data().images, (700, *conftest.IMAGE_SHAPE))  # more than a call has
  variables = conftest.linear_variables()
  found = training.soft_labels(
    lambda v, key, x: conftest.linear_logits(v, x), variables, images, temperature=7.0
  )
  weights, bias = (np.asarray(variables[name], np.float64) for name in ("weights", "bias"))
  logits = images.reshape(700, -1) / 255 @ weights + bias
  assert found.shape == (700, 3) and found.dtype == np.float32
  np.testing.assert_allclose(found, _softmax(logits / 7), rtol=1e-5)
  assert np.abs(found - _softmax(logits)).max() > 0.1


def test_teacher_and_student_start_from_one_epoch_and_differ_in_their_labels(undisturbed):
  folder, asked = undisturbed
  first, teacher, student = (trainer for trainer, _, _ in asked)
  saved = [checkpoints.load(folder / name) for name in ("first_epoch", "teacher", ".")]
  begun = [trainer.init(jax.random.key(5)).variables for trainer in (teacher, student)]
  for variables in begun:
    jax.tree.map(np.testing.assert_array_equal, variables, saved[0].state["variables"])
  drawn = [first.init(jax.random.key(i)).variables["params"]["weights"] for i in (5, 6)]
  assert np.abs(drawn[0] - drawn[1]).max() > 0.1, "the first epoch starts from a draw"
  assert [options["num_steps"] for _, _, options in asked] == [25, _STEPS, _STEPS]
  assert [options["batch_size"] for _, _, options in asked] == [8, 8, 8]
  assert len({options["seed"] for _, _, options in asked}) == 3
  labels = [data.labels for _, data, _ in asked]
  np.testing.assert_array_equal(labels[0], _data().labels)
  np.testing.assert_array_equal(labels[1], _data().labels)
  x = _data().images.reshape(200, -1) / 255
  params = saved[1].state["variables"]["params"]
  taught = _softmax((x @ params["weights"] + params["bias"]) / _TEMPERATURE)
  np.testing.assert_allclose(labels[2], taught, rtol=1e-4)
  assert np.abs(labels[2] - np.eye(3)[labels[0]]).max() > 0.3, "soft"


def test_temperatures_of_the_three(undisturbed):
  _, asked = undisturbed
  key = lambda: jax.random.key(0)
  for (trainer, _, _), temperature in zip(asked, (1.0, _TEMPERATURE, _TEMPERATURE)):
    state, data = trainer.init(key()), _data(16)
    drop_key = jax.random.split(jax.random.fold_in(key(), 0), 4)[2]
    logits, _ = _linear().apply_train(state.variables, drop_key, datasets.to_float(data.images))
    loss = -np.log(_softmax(np.asarray(logits) / temperature))[np.arange(16), data.labels].mean()
    found = jax.jit(trainer.step)(key(), state, data.images, data.labels)[1]["loss"]
    np.testing.assert_allclose(found, loss, rtol=1e-5)


def test_it_says_what_it_did(undisturbed):
  folder, _ = undisturbed
  student, teacher = checkpoints.load(folder), checkpoints.load(folder / "teacher")
  wanted = {"model": "m", "temperature": _TEMPERATURE, "scheduled_steps": _STEPS}
  assert student.meta.items() >= wanted.items() and student.meta["finished"]
  assert student.meta["num_steps"] == _STEPS and student.meta["test_accuracy"] > 0.6
  assert student.meta["teacher"] == checkpoints.fingerprint(teacher.state["variables"])
  assert teacher.meta["model"] == "m/teacher" and "teacher" not in teacher.meta
  assert checkpoints.load(folder / "first_epoch").meta["num_steps"] == 25


def _metrics(folder):
  lines = (folder / training.METRICS).read_text().splitlines()
  return [{k: v for k, v in json.loads(x).items() if k != "images_per_second"} for x in lines]


def test_stopped_or_killed_anywhere_it_ends_in_the_same_bits(undisturbed, tmp_path):
  looks, stops, kills = 0, 0, 0

  def should_stop():
    nonlocal looks
    looks += 1
    if looks % 4 == 3:
      raise KeyboardInterrupt  # as by a kill: nothing is saved
    return looks % 4 == 1

  while stops + kills < 20:
    try:
      _distil(tmp_path, should_stop=should_stop)
      break
    except training.Stopped:
      stops += 1
    except KeyboardInterrupt:
      kills += 1
  assert stops >= 3 and kills >= 3, "in each of the three trainings"
  for name in ("first_epoch", "teacher", "."):
    whole, cut = (checkpoints.load(folder / name) for folder in (undisturbed[0], tmp_path))
    jax.tree.map(np.testing.assert_array_equal, whole.state, cut.state)
    assert whole.meta == cut.meta
    assert _metrics(undisturbed[0] / name) == _metrics(tmp_path / name)


def test_a_finished_student_needs_neither_teacher_nor_work(undisturbed, tmp_path, monkeypatch):
  monkeypatch.setattr(distillation, "fit", lambda *args, **options: pytest.fail("it trains"))
  again = _distil(undisturbed[0])
  assert again.meta == checkpoints.load(undisturbed[0]).meta
  for options, message in (
    ({"temperature": 5.0}, "has temperature=20.0, not 5.0"),
    ({"num_steps": 40}, "has scheduled_steps=30, not 40"),
  ):
    with pytest.raises(ValueError, match=message):
      _distil(undisturbed[0], **options)


def test_a_student_of_another_teacher_is_refused(tmp_path):
  looks = iter([False] * 6 + [True])  # at the student's tenth step
  with pytest.raises(training.Stopped):
    _distil(tmp_path, should_stop=lambda: next(looks))
  assert not checkpoints.load(tmp_path).meta["finished"]
  teacher = checkpoints.load(tmp_path / "teacher")
  teacher.state["variables"]["params"]["bias"][0] += 1
  checkpoints.save(tmp_path / "teacher", teacher.state, teacher.meta)
  with pytest.raises(ValueError, match=r"has teacher='\w+', not '\w+'"):
    _distil(tmp_path)


def test_what_cannot_be_distilled_is_refused_before_any_work(tmp_path):
  for options, message in (
    ({"temperature": 0.0}, "temperature must be above 0 and finite, not 0.0"),
    ({"num_steps": 0}, "num_steps must be at least 1, not 0"),
    ({"batch_size": 0}, "batch_size=0 must be between 1 and the 200"),
  ):
    with pytest.raises(ValueError, match=message):
      _distil(tmp_path, **options)
  assert not list(pathlib.Path(tmp_path).iterdir())
