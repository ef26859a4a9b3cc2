"""The small networks of the ZOO and Carlini-Wagner papers, and one for digits.

Layer by layer as in the `setup_mnist.py` and `setup_cifar.py` of their official code:
blocks of two 3x3 convolutions and a 2x2 max-pool, two dense layers with dropout 0.5
after the first, logits. Images come in [0, 1]; the reference's shift to [-0.5, 0.5]
is done here.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from orjax.models.conv import at_least_float32
from orjax.models.conv import flax_conv
from orjax.models.noise import add_noise


def _pool_by_reshape(x):
  n, h, w, c = x.shape
  return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
  """2x2 max-pool of [B, H, W, C] with even H and W.

  Forward is `reduce_window`, which XLA fuses; the gradient of `reduce_window` is slow
  on CPUs, so the backward pass differentiates the same pool written as a reshape.
  """
  return nn.max_pool(x, (2, 2), (2, 2))


def _max_pool_fwd(x):
  return max_pool(x), x


def _max_pool_bwd(x, g):
  return jax.vjp(_pool_by_reshape, x)[1](g)


max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


class ConvNet(nn.Module):
  """Blocks of conv-relu-conv-relu-pool, then dense, dropout, dense, logits.

  `noise_location` and `noise_stddev` say after which convolutions noise is added (before
  the ReLU) when `noise_keys` [B] are given, or that it is added before every one, where that
  of the first is `noise_init_ratio` times as large; `noise_stddevs` [B] override the stddev.
  """

  features: tuple[int, ...]
  hidden: int
  padding: str = "VALID"
  num_classes: int = 10
  dtype: Any = jnp.float32
  noise_location: str | None = None
  noise_stddev: float = 0.0
  noise_init_ratio: float = 1.0

  @nn.compact
  def __call__(self, images, train: bool = False, noise_keys=None, noise_stddevs=None):
    # Keras defaults: Glorot-uniform kernels and zero biases.
    init = nn.initializers.glorot_uniform()
    stddev = self.noise_stddev if noise_stddevs is None else noise_stddevs
    dense = lambda size: nn.Dense(size, kernel_init=init, dtype=self.dtype)
    x = (images - 0.5).astype(self.dtype)
    for block, features in enumerate(self.features):
      for i, place in enumerate(("first", "second")):
        layer = 2 * block + i
        if noise_keys is not None and self.noise_location == "before":
          x = add_noise(x, noise_keys, layer, stddev if layer else stddev * self.noise_init_ratio)
        x = nn.Conv(
          features,
          (3, 3),
          padding=self.padding,
          kernel_init=init,
          dtype=self.dtype,
          conv_general_dilated=flax_conv,
        )(x)
        if noise_keys is not None and self.noise_location in ("every", place):
          x = add_noise(x, noise_keys, layer, stddev)
        x = nn.relu(x)
      odd = [(0, size % 2) for size in x.shape[1:3]]
      x = jnp.pad(x, ((0, 0), *odd, (0, 0)))  # after a ReLU zeros change no maximum
      x = max_pool(x)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(dense(self.hidden)(x))
    x = nn.Dropout(0.5, deterministic=not train)(x)
    x = nn.relu(dense(self.hidden)(x))
    logits = dense(self.num_classes)(x)
    return logits.astype(at_least_float32(self.dtype))


def mnist(**options) -> ConvNet:
  """ZOO's MNIST network: 28x28x1, 312,202 parameters."""
  return ConvNet(features=(32, 64), hidden=200, **options)


def cifar10(**options) -> ConvNet:
  """ZOO's CIFAR10 network: 32x32x3, 1,147,978 parameters."""
  return ConvNet(features=(64, 128), hidden=256, **options)


def small(**options) -> ConvNet:
  """The same design for images of any size, as for digits."""
  return ConvNet(features=(32, 64), hidden=64, padding="SAME", **options)


def digits(**options) -> ConvNet:
  """The same design for scikit-learn's 8x8x1 digits; SAME padding keeps pixels."""
  return small(**options)
