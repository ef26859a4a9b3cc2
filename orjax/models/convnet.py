"""The small networks of the ZOO and Carlini-Wagner papers, and one for digits.

Layer by layer as in the `setup_mnist.py` and `setup_cifar.py` of their official code:
blocks of two 3x3 convolutions and a 2x2 max-pool, two dense layers with dropout 0.5
after the first, logits. Images come in [0, 1]; the reference's shift to [-0.5, 0.5]
is done here.
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp


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


def _stride_1_conv(x, kernel, padding):
  return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
  """Convolution of stride 1: [B, H, W, C] with an odd kernel [h, w, C, features].

  The gradient to `x` is written as a convolution itself: inside a loop, XLA on CPUs
  runs the transposed convolution of `lax` many times slower.
  """
  return _stride_1_conv(x, kernel, padding)


def _conv_bwd(padding, saved, g):
  x, kernel = saved
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
  full = [(size - 1, size - 1) for size in kernel.shape[:2]]
  dx = _stride_1_conv(g, flipped, full if padding == "VALID" else padding)
  return dx, jax.vjp(lambda k: _stride_1_conv(x, k, padding), kernel)[1](g)[0]


conv.defvjp(lambda x, kernel, padding: (conv(x, kernel, padding), (x, kernel)), _conv_bwd)


def _flax_conv(x, kernel, strides, padding, **options):
  dilations = options.get("lhs_dilation"), options.get("rhs_dilation")
  if any(step != 1 for steps in (strides, *dilations) for step in steps or ()):
    raise NotImplementedError("conv has stride 1 and no dilation")
  return conv(x, kernel, padding)


class ConvNet(nn.Module):
  """Blocks of conv-relu-conv-relu-pool, then dense, dropout, dense, logits."""

  features: tuple[int, ...]
  hidden: int
  padding: str = "VALID"
  num_classes: int = 10

  @nn.compact
  def __call__(self, images, train: bool = False):
    # Keras defaults: Glorot-uniform kernels and zero biases.
    init = nn.initializers.glorot_uniform()
    x = images - 0.5
    for features in self.features:
      for _ in range(2):
        x = nn.relu(nn.Conv(features, (3, 3), padding=self.padding, kernel_init=init,
                            conv_general_dilated=_flax_conv)(x))
      x = max_pool(x)
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(nn.Dense(self.hidden, kernel_init=init)(x))
    x = nn.Dropout(0.5, deterministic=not train)(x)
    x = nn.relu(nn.Dense(self.hidden, kernel_init=init)(x))
    return nn.Dense(self.num_classes, kernel_init=init)(x).astype(jnp.float32)


def mnist() -> ConvNet:
  """ZOO's MNIST network: 28x28x1, 312,202 parameters."""
  return ConvNet(features=(32, 64), hidden=200)


def cifar10() -> ConvNet:
  """ZOO's CIFAR10 network: 32x32x3, 1,147,978 parameters."""
  return ConvNet(features=(64, 128), hidden=256)


def digits() -> ConvNet:
  """The same design for scikit-learn's 8x8x1 digits; SAME padding keeps pixels."""
  return ConvNet(features=(32, 64), hidden=64, padding="SAME")
