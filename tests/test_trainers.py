"""What one training step does, over one device or eight."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import conftest
from orjax import datasets
from orjax import models
from orjax import training
from orjax.models import Classifier
from orjax.models import wide_resnet


def _linear():
  """The linear model as a classifier; nothing in it is random."""
  apply = conftest.linear_logits
  return Classifier(
    lambda key: {"params": conftest.linear_variables()},
    lambda variables, x: apply(variables["params"], x),
    lambda variables, keys, x: apply(variables["params"], x),
    lambda variables, key, x: (apply(variables["params"], x), variables),
    conftest.IMAGE_SHAPE,
    conftest.NUM_CLASSES,
  )


def _decays(optimizer, steps):
  """By how much a kernel of 1 decays at some steps, without a gradient or a momentum."""
  params = {"kernel": jnp.ones(()), "bias": jnp.ones(())}
  state = optimizer.init(params)
  update = jax.jit(optimizer.update)
  at = lambda step: jax.tree.map(
    lambda x: jnp.full_like(x, step) if x.dtype == jnp.int32 else jnp.zeros_like(x), state
  )
  zero = jax.tree.map(jnp.zeros_like, params)
  updates = [update(zero, at(step), params)[0] for step in steps]
  assert not any(each["bias"] for each in updates)  # weight decay is for kernels
  return -np.array([each["kernel"] for each in updates])


def test_learning_rate_of_madry_falls_where_published_and_scales():
  for num_steps in (80_000, 40):
    steps = [int(share * num_steps) for share in (0, 0.49, 0.5, 0.74, 0.75)]
    found = _decays(training.madry_optimizer(num_steps), steps)
    np.testing.assert_allclose(found, 2e-4 * np.array([0.1, 0.1, 0.01, 0.01, 0.001]), rtol=1e-5)
  with pytest.raises(ValueError, match="num_steps must be at least 1, not 0"):
    training.madry_optimizer(0)


def test_learning_rate_of_one_cycle_rises_to_its_peak_and_falls_to_nothing():
  for num_steps in (5_000, 40):
    rising, falling = int(0.15 * num_steps), int(0.65 * num_steps)
    steps = [0, rising, int(0.3 * num_steps), falling, num_steps]
    # Nesterov's momentum counts what is new in a step 1.9 times.
    found = _decays(training.one_cycle_optimizer(num_steps), steps) / 5e-4 / 1.9
    wanted = [0.4 / 25, (0.4 + 0.4 / 25) / 2, 0.4, 0.2, 0.0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-9)
  found = _decays(training.one_cycle_optimizer(10, peak=0.1), [3])
  np.testing.assert_allclose(found, 0.1 * 5e-4 * 1.9, rtol=1e-5)
  with pytest.raises(ValueError, match="num_steps must be at least 4 to rise and to fall, not 3"):
    training.one_cycle_optimizer(3)


def test_crops_and_flips_are_shifts_by_two_and_mirrors():
  image = np.arange(1, 26, dtype=np.float32).reshape(5, 5, 1)
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
  possible = {
    x.tobytes(): (i, j, flip)
    for i in range(5)
    for j in range(5)
    for flip, x in enumerate(
      (padded[i : i + 5, j : j + 5], np.ascontiguousarray(padded[i : i + 5, j : j + 5][:, ::-1]))
    )
  }
  batch = jnp.broadcast_to(jnp.asarray(image)[None], (400, 5, 5, 1))
  found = np.asarray(training.crop_and_flip(jax.random.key(0), batch))
  drawn = [possible[x.tobytes()] for x in found]
  assert len(set(drawn)) == 50 and 150 < sum(flip for *_, flip in drawn) < 250


def test_noise_on_the_logits_is_inside_the_loss(linear_images):
  images, labels = linear_images
  classifier = _linear()
  images = np.round(images * 255).astype(np.uint8)
  loss = {}
  for stddev in (0.0, 100.0):
    step = jax.jit(training.trainer(classifier, training.zoo_optimizer(), logit_stddev=stddev).step)
    state = training.trainer(classifier, training.zoo_optimizer()).init(jax.random.key(0))
    found = [step(jax.random.key(i), state, images, labels)[1] for i in range(200)]
    loss[stddev] = np.array([metrics["loss"] for metrics in found])
    assert all(metrics["accuracy"] == 1 for metrics in found)  # of the noiseless logits
  # At no margin E loss / stddev is E max of the noise, 0.846 for three classes.
  assert np.ptp(loss[0.0]) == 0 and abs(loss[100.0].mean() / 100 - 0.846) < 0.1
  with pytest.raises(ValueError, match="logit_stddev must be 0 or more and finite, not -1"):
    training.trainer(classifier, training.zoo_optimizer(), logit_stddev=-1)


@pytest.mark.parametrize("statistics", training.STATISTICS)
def test_adversary_lands_on_the_worst_corner_of_a_linear_model(linear_images, statistics):
  images, labels = linear_images
  two = _linear()._replace(
    apply=lambda v, x: conftest.linear_logits(v["params"], x)[:, :2],
    apply_train=lambda v, key, x: (conftest.linear_logits(v["params"], x)[:, :2], v),
  )
  variables = two.init(jax.random.key(0))
  labels = np.arange(len(labels), dtype=np.int32) % 2
  weights = np.asarray(variables["params"]["weights"]).reshape(4, 4, 1, 3)
  adversary = training.pgd_adversary(
    radius=0.1, step_size=0.03, num_steps=10, statistics=statistics
  )
  found = jax.jit(lambda key, x, y: adversary(key, two, variables, x, y))(
    jax.random.key(0), jnp.asarray(images), jnp.asarray(labels)
  )
  for x, image, label in zip(found, images, labels):
    down = np.sign(weights[..., label] - weights[..., 1 - label])
    np.testing.assert_allclose(x, np.clip(image - 0.1 * down, 0, 1), atol=1e-6)


def test_bad_adversaries_are_refused():
  with pytest.raises(ValueError, match="statistics must be one of batch, running, not 'none'"):
    training.pgd_adversary(statistics="none")
  with pytest.raises(ValueError, match="num_steps must be at least 1, not 0"):
    training.pgd_adversary(num_steps=0)
  with pytest.raises(ValueError, match="radius and step_size must be above 0"):
    training.pgd_adversary(radius=0.0)


def _small_resnet():
  """A network with batch normalisation that trains in seconds."""
  module = wide_resnet.WideResNet((4, 4, 8, 8), num_units=1)
  images = jnp.zeros((1, 8, 8, 1))

  def apply_train(variables, key, x):
    del key
    logits, updates = module.apply(variables, x, train=True, mutable=["batch_stats"])
    return logits, {**variables, **updates}

  return Classifier(
    lambda key: jax.jit(module.init)(key, images),
    module.apply,
    lambda variables, keys, x: module.apply(variables, x),
    apply_train,
    (8, 8, 1),
    10,
  )


@pytest.mark.parametrize(
  "make, adversarial", [(lambda: models.build("convnet_digits"), False), (_small_resnet, True)]
)
def test_one_device_and_eight_give_one_loss_curve(make, adversarial, tmp_path):
  classifier = make()
  train, test = (datasets.load("digits", split) for split in ("train", "test"))
  optimizer = training.madry_optimizer(50) if adversarial else training.zoo_optimizer(10.0)
  adversary = training.pgd_adversary(radius=0.1, step_size=0.05, num_steps=2)
  trainer = training.trainer(
    classifier,
    optimizer,
    logit_stddev=1.0,
    augment=training.crop_and_flip,
    adversary=adversary if adversarial else None,
  )
  curves = {}
  for num_devices in (1, 8):
    folder = tmp_path / str(num_devices)
    training.fit(
      trainer,
      train,
      seed=0,
      num_steps=50,
      batch_size=64,
      directory=str(folder),
      meta={"model": "m"},
      test=test,
      devices=jax.devices()[:num_devices],
      apply=lambda variables, key, x: classifier.apply(variables, x),
    )
    lines = (folder / training.METRICS).read_text().splitlines()
    curves[num_devices] = [json.loads(line)["loss"] for line in lines]
  assert len(curves[1]) == 5 and np.ptp(curves[1]) > 0.05
  np.testing.assert_allclose(curves[8], curves[1], rtol=1e-4)


def test_what_no_training_can_do_is_refused_before_any_work(tmp_path):
  classifier = models.build("convnet_digits")
  train, test = (datasets.load("digits", split) for split in ("train", "test"))
  trainer = training.trainer(classifier, training.zoo_optimizer())
  fit = lambda trainer=trainer, meta=None, **kw: training.fit(
    trainer,
    train,
    **{
      "seed": 0,
      "num_steps": 1,
      "batch_size": 64,
      "test": test,
      "directory": str(tmp_path),
      "devices": jax.devices()[:1],
      "meta": meta or {"model": "m"},
      "apply": lambda v, key, x: classifier.apply(v, x),
      **kw,
    },
  )
  with pytest.raises(
    ValueError, match="batch of 60 images does not divide over 8 devices: pass a multiple of 8"
  ):
    fit(batch_size=60, devices=jax.devices())
  with pytest.raises(ValueError, match="num_steps must be at least 1, not 0"):
    fit(num_steps=0)
  with pytest.raises(ValueError, match="batch_size=5000 must be between 1 and the 1437"):
    fit(batch_size=5000)
  fit()
  with pytest.raises(ValueError, match="is of another network: its .* has shape"):
    fit(training.trainer(_small_resnet(), training.zoo_optimizer()))
