"""The noise that a classifier can afford, and the rate at which it changes an answer."""

import jax
import jax.numpy as jnp
import numpy as np

from harness.classifiers.model import Model
from orjax import datasets
from orjax import defenses
from orjax import records
from orjax import theory
from orjax.threats import threat_model

_BATCH_SIZE = 500


def probabilities(model: Model, images: np.ndarray) -> jax.Array:
  """Noiseless answers [N, K] to images uint8 [N, H, W, C]."""
  predict = jax.jit(lambda v, x: model.clean(v).query(jax.random.key(0), x))
  return jnp.concatenate(
    [
      predict(model.variables, datasets.to_float(images[i : i + _BATCH_SIZE]))
      for i in range(0, len(images), _BATCH_SIZE)
    ]
  )


def measure(
  model: Model,
  test: datasets.Dataset,
  probs: jax.Array,
  rate: float,
  key: jax.Array,
  *,
  per_image: bool,
) -> dict:
  """What noise keeps a rate, and the rate that one defended answer per image shows.

  Args:
    model: of which.
    test: images to ask about.
    probs: its noiseless answers to them [N, K].
    rate: wanted share of answers that noise changes.
    key: consumed.
    per_image: whether every image has noise of its own.
  """
  stddev = jax.jit(theory.calibrate, static_argnames="per_image")(probs, rate, per_image=per_image)
  threats = threat_model(model.clean, defenses.output_noise())
  scales = np.broadcast_to(np.minimum(np.asarray(stddev), 1e6), len(test.labels))

  @jax.jit
  def classes(variables, key, images, scales):
    one = lambda key, image, scale: threats.defended(variables, {"stddev": scale}).query(
      key, image[None]
    )[0]
    keys = jax.random.split(key, len(images))
    return jax.vmap(one)(keys, images, scales).argmax(-1)

  answers = np.concatenate(
    [
      classes(
        model.variables,
        jax.random.fold_in(key, start),
        datasets.to_float(test.images[start : start + _BATCH_SIZE]),
        scales[start : start + _BATCH_SIZE],
      )
      for start in range(0, len(test.labels), _BATCH_SIZE)
    ]
  )
  changed = int((answers != np.asarray(probs.argmax(-1))).sum())
  return {
    "rate": rate,
    "per_image": per_image,
    "stddev": float(jnp.median(stddev)),
    "num_images": len(probs),
    "num_changed": changed,
    "interval": records.wilson(changed, len(probs)),
    "accuracy": float((answers == test.labels).mean()),
  }
