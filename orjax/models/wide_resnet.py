"""The CIFAR10 networks of Madry et al. (2017): "w32-10", and its thin variant ResNet-32.

As in `model.py` of the CIFAR10 challenge: pre-activation residual units with leaky ReLU of
slope 0.1, average-pool and zero-pad shortcuts without any projection, no biases of
convolutions. Images come in [0, 1]; the standardisation of each image is done here, so
that attacks differentiate through it.
"""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from orjax.models.conv import at_least_float32
from orjax.models.conv import flax_conv
from orjax.models.noise import add_noise


def standardise(images: jax.Array) -> jax.Array:
  """(x - mean) / max(stddev, 1 / sqrt(size)) of each image [B, H, W, C], on 0..255."""
  x = images * 255
  size = x[0].size
  axes = tuple(range(1, x.ndim))
  x = x - x.mean(axes, keepdims=True)
  # The maximum is taken of variances: the slope of a root at 0 is infinite.
  variance = jnp.maximum(jnp.square(x).mean(axes, keepdims=True), 1 / size)
  return x / jnp.sqrt(variance)


def _leaky_relu(x):
  return nn.leaky_relu(x, 0.1)


def _shortcut(x, features, stride):
  """Average pool, then zero channels, half before and half after."""
  if stride > 1:
    num_rows, height, width, channels = x.shape
    x = x.reshape(num_rows, height // stride, stride, width // stride, stride, channels)
    x = x.mean((2, 4))
  missing = features - x.shape[-1]
  if missing:
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
  return x


class WideResNet(nn.Module):
  """A 3x3 convolution, three groups of residual units, a dense layer: logits.

  `noise_location` and `noise_stddev` say after which convolutions noise is added when
  `noise_keys` [B] are given: `every`, or the `first` or `second` of each unit; or it is added
  `before` every one, where that of the first is `noise_init_ratio` times as large;
  `noise_stddevs` [B] override the stddev.
  """

  widths: tuple[int, int, int, int]
  num_units: int = 5
  num_classes: int = 10
  dtype: Any = jnp.float32
  noise_location: str | None = None
  noise_stddev: float = 0.0
  noise_init_ratio: float = 1.0

  @nn.compact
  def __call__(self, images, train: bool = False, noise_keys=None, noise_stddevs=None):
    # TensorFlow's decay 0.9 and the default epsilon of its contrib.
    norm = functools.partial(
      nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-3, dtype=self.dtype
    )
    stddev = self.noise_stddev if noise_stddevs is None else noise_stddevs
    num_convs = 0

    def conv(x, features, stride, place):
      nonlocal num_convs
      if noise_keys is not None and self.noise_location == "before":
        here = stddev if num_convs else stddev * self.noise_init_ratio
        x = add_noise(x, noise_keys, num_convs, here)
      # N(0, 2 / (k k features)): fan-out, not truncated.
      x = nn.Conv(
        features,
        (3, 3),
        (stride, stride),
        use_bias=False,
        dtype=self.dtype,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        conv_general_dilated=flax_conv,
      )(x)
      if noise_keys is not None and self.noise_location in ("every", place):
        x = add_noise(x, noise_keys, num_convs, stddev)
      num_convs += 1
      return x

    first, *groups = self.widths
    x = conv(standardise(images).astype(self.dtype), first, 1, "initial")
    for group, features in enumerate(groups):
      for unit in range(self.num_units):
        stride = 2 if group > 0 and unit == 0 else 1
        y = _leaky_relu(norm()(x))
        # The very first unit branches off after its activation, the others before.
        source = y if group == unit == 0 else x
        y = conv(y, features, stride, "first")
        y = conv(_leaky_relu(norm()(y)), features, 1, "second")
        x = _shortcut(source, features, stride) + y
    x = _leaky_relu(norm()(x)).mean((1, 2))
    # TensorFlow's uniform unit scaling: +-sqrt(3 / fan_in).
    logits = nn.Dense(
      self.num_classes,
      dtype=self.dtype,
      kernel_init=nn.initializers.variance_scaling(1.0, "fan_in", "uniform"),
    )(x)
    return logits.astype(at_least_float32(self.dtype))


def resnet32(**options) -> WideResNet:
  """The "ResNet 32" of the paper: 0.464 M parameters."""
  return WideResNet((16, 16, 32, 64), **options)


def wide_resnet32_10(**options) -> WideResNet:
  """Ten times as wide: 45.90 M parameters."""
  return WideResNet((16, 160, 320, 640), **options)
