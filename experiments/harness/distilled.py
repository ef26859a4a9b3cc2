"""A twin of any model, learnt in seconds from its answers.

Its gradients lead across a boundary where the model's own are masked.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from harness.classifiers.model import from_jax
from harness.classifiers.model import Model
from orjax import datasets
from orjax.models.conv import conv

_NUM_ANSWERS = 4000
_NUM_STEPS = 400
_BATCH_SIZE = 128
_LEARNING_RATE = 2e-3
_LARGEST_SIDE = 32
_FEATURES = (16, 32)
_HIDDEN = 128
_ROWS_AT_ONCE = 250


def _pooled(images):
  """Means of tiles [B, H, W, C], so that no side is longer than the largest."""
  stride = -(-max(images.shape[1:3]) // _LARGEST_SIDE)
  if stride == 1:
    return images
  window = (1, stride, stride, 1)
  zero = jnp.zeros((), images.dtype)
  return jax.lax.reduce_window(images, zero, jax.lax.add, window, window, "SAME") / stride**2


def _features(variables, images):
  """What two strided convolutions make of images [B, H, W, C]: [B, D]."""
  x = _pooled(images) - 0.5
  for kernel in variables["kernels"]:
    x = jax.nn.relu(conv(x, kernel, (2, 2), "SAME"))
  return x.reshape(len(x), -1)


def apply(variables: dict, images: jax.Array) -> jax.Array:
  """Logits [B, K] of a small convnet for images [B, H, W, C] of any size."""
  x = _features(variables, images)
  for weights, bias in variables["dense"][:-1]:
    x = jax.nn.relu(x @ weights + bias[None])
  weights, bias = variables["dense"][-1]
  return x @ weights + bias[None]


def init(key: jax.Array, image_shape: tuple[int, ...], num_classes: int) -> dict:
  """Its variables before training on images (H, W, C): as He et al. (2015), biases of 0."""
  keys = iter(jax.random.split(key, len(_FEATURES) + 2))

  def weights(*shape):
    fan_in = float(np.prod(shape[:-1]))
    return jax.random.normal(next(keys), shape) * (2 / fan_in) ** 0.5

  channels = (image_shape[2], *_FEATURES)
  kernels = [weights(3, 3, few, many) for few, many in zip(channels, channels[1:])]
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  (_, size) = jax.eval_shape(_features, {"kernels": kernels}, image).shape
  sizes = (size, _HIDDEN, num_classes)
  dense = [(weights(few, many), jnp.zeros(many)) for few, many in zip(sizes, sizes[1:])]
  return {"kernels": kernels, "dense": dense}


def fit(
  key: jax.Array, images: jax.Array, answers: jax.Array, *, num_steps: int = _NUM_STEPS
) -> dict:
  """Variables for which `apply` answers as was answered.

  Args:
    key: of the first variables and of the batches.
    images: float32 [N, H, W, C].
    answers: probabilities [N, K] of what is copied.
    num_steps: of Adam, with batches drawn with replacement.
  """
  init_key, batch_key = jax.random.split(key)
  variables = init(init_key, images.shape[1:], answers.shape[1])
  optimizer = optax.adam(_LEARNING_RATE)

  def loss(variables, images, answers):
    return optax.softmax_cross_entropy(apply(variables, images), answers).mean()

  @jax.jit
  def step(key, variables, memory, images, answers):
    chosen = jax.random.randint(key, (_BATCH_SIZE,), 0, len(images))
    gradient = jax.grad(loss)(variables, images[chosen], answers[chosen])
    updates, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(variables, updates), memory

  memory = optimizer.init(variables)
  # A loop of the host's: in one of XLA's, gradients of convolutions are slow on CPUs.
  with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises floats to whole numbers
    for key in jax.random.split(batch_key, num_steps):
      variables, memory = step(key, variables, memory, images, answers)
  return variables


def load(
  model: Model, images: np.ndarray, *, radius: float, seed: int, rows_per_call: int | None
) -> Model:
  """A network that was taught the model's answers around some images.

  It is made anew in every call, alike on one machine; its fingerprint is its model's, as its
  last bits may be others on another machine.

  Args:
    model: who answers, as it is without a defense.
    images: uint8 [N, H, W, C]: 2,000 as they are, then all of these with uniform noise, again
      and again, up to 4,000 in all.
    radius: of the noise, in units of [0, 1].
    seed: of everything random.
    rows_per_call: images the network sees at a time.
  """
  noise_key, query_key, fit_key = jax.random.split(jax.random.key(seed), 3)
  images = images[: _NUM_ANSWERS // 2]

  @jax.jit
  def ask(number, variables, rows, is_noisy):
    noise = jax.random.uniform(
      jax.random.fold_in(noise_key, number), rows.shape, minval=-radius, maxval=radius
    )
    rows = jnp.clip(rows + jnp.where(is_noisy[:, None, None, None], noise, 0), 0, 1)
    answers = model.clean(variables).query(jax.random.fold_in(query_key, number), rows)
    return _pooled(rows), answers  # of large images, small ones are kept

  places = np.arange(_NUM_ANSWERS)
  found = [
    ask(number, model.variables, datasets.to_float(images[some % len(images)]), some >= len(images))
    for number, some in enumerate(np.split(places, _NUM_ANSWERS // _ROWS_AT_ONCE))
  ]
  asked, answers = (jnp.concatenate(parts) for parts in zip(*found))
  twin = fit(fit_key, asked, answers)
  return from_jax(
    apply, twin, model.image_shape, model.num_classes, "distilled", rows_per_call=rows_per_call
  )._replace(fingerprint=f"distilled of {model.fingerprint}")
