"""How far output noise throws an estimated gradient, at an image and at the boundary."""

import jax
import jax.numpy as jnp
import numpy as np

from harness.classifiers.model import Model
from orjax import attacks
from orjax import defenses
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax.threats import threat_model
from orjax.threats import traced

OBJECTIVES = {
  "log margin": objectives.log_margin(),
  "linear margin": objectives.margin(confidence=1),
}


def boundary(model: Model, key: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
  """Images on the way to noisy, misclassified ones where the class changes.

  Raises:
    ValueError: none was found near some image.
  """
  apply = model.apply
  assert apply, "a model outside JAX is refused before"
  predict = jax.jit(lambda x: apply(model.variables, x).argmax(-1) != labels)
  start = attacks.low_frequency_noise()
  far, outside = images, np.zeros(len(images), bool)
  for number in range(100):
    keys = jax.random.split(jax.random.fold_in(key, number), len(images))
    drawn = jax.vmap(start)(keys, images)
    far = jnp.where(outside[:, None, None, None], far, drawn)
    outside |= np.asarray(predict(drawn))
  if not outside.all():
    raise ValueError(
      "no misclassified image was found near some images: raise the number of test images, or "
      "train the classifier"
    )
  low, high = jnp.zeros(len(images)), jnp.ones(len(images))
  for _ in range(20):
    middle = (low + high) / 2
    share = middle[:, None, None, None]
    wrong = predict((1 - share) * images + share * far)
    low, high = jnp.where(wrong, low, middle), jnp.where(wrong, middle, high)
  share = low[:, None, None, None]
  return (1 - share) * images + share * far


def measure(
  model: Model,
  name: str,
  spacing: float,
  variances: list[float],
  key: jax.Array,
  images: jax.Array,
  labels: jax.Array,
) -> tuple[np.ndarray, np.ndarray]:
  """Error norms [variance, image] and true norms [image] of central differences.

  All estimators see the same noise, so that they differ by what they do with it.

  Args:
    model: of which.
    name: of `OBJECTIVES`.
    spacing: h.
    variances: of the noise.
    key: consumed.
    images: float32 [N, H, W, C].
    labels: int32 [N].
  """
  defense = defenses.output_noise()
  threats = threat_model(model.clean, defense)
  settings = [traced(defense.settings(variance)) for variance in (0.0, *variances)]
  stddevs = jnp.asarray([setting["stddev"] for setting in settings])
  objective = OBJECTIVES[name]

  def gradient(variables, key, image, label, stddev):
    loss_fn = objectives.asked(objective, threats.asked(variables, {"stddev": stddev}), label)
    estimator = estimators.finite_difference(num_coordinates=image.size, spacing=spacing)
    return estimator.estimate(key, loss_fn, image).gradient

  @jax.jit
  def norms(variables, key, image, label):
    # The points, and so the forward pass, are those of one gradient for all variances.
    found = jax.vmap(lambda stddev: gradient(variables, key, image, label, stddev))(stddevs)
    return jax.vmap(geometry.l2)(found - found[:1]), geometry.l2(found[0])

  found = [
    norms(model.variables, jax.random.fold_in(key, i), image, label)
    for i, (image, label) in enumerate(zip(images, labels))
  ]
  errors, true = (np.array(x, np.float64) for x in zip(*found))
  return errors[:, 1:].T, true
