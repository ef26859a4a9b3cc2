"""A convolution whose gradients are fast on CPUs, too, and one that is fast in float64."""

import functools

import jax
import jax.numpy as jnp

_SMALL = 100  # places of an output, below which its convolution with the image is as fast


def _lax_conv(x, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: str) -> jax.Array:
  """Convolution of [B, H, W, C] with a kernel [h, w, C, features].

  The gradient to `x` is written as a convolution of stride 1 itself: inside a loop, XLA on
  CPUs runs the transposed convolution of `lax` many times slower. That to the kernel, which is
  a convolution with a kernel as large as the output, is there a product of matrices for every
  place in the kernel, unless the output is small: up to nine times faster.

  Args:
    x: images or features.
    kernel: of any size.
    strides: along H and W.
    padding: `SAME` or `VALID`.
  """
  return _lax_conv(x, kernel, strides, padding)


def _conv_bwd(strides, padding, saved, g):
  x, kernel = saved
  pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
  spread = [(0, 0, 0), *((0, 0, stride - 1) for stride in strides), (0, 0, 0)]
  if any(stride > 1 for stride in strides):
    g_dense = jax.lax.pad(g, jnp.zeros((), g.dtype), spread)
  else:
    g_dense = g
  around = []
  for axis, (low, _) in enumerate(pads):
    before = kernel.shape[axis] - 1 - low
    after = x.shape[1 + axis] - g_dense.shape[1 + axis] - before + kernel.shape[axis] - 1
    around.append((before, after))
  flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
  dx = _lax_conv(g_dense, flipped, (1, 1), around)
  by_conv = lambda x, k, g: jax.vjp(lambda k: _lax_conv(x, k, strides, padding), k)[1](g)[0]
  by_products = lambda x, k, g: _kernel_gradient_by_products(x, k, g, strides, padding)
  if g.shape[1] * g.shape[2] < _SMALL:
    return dx, by_conv(x, kernel, g)
  return dx, jax.lax.platform_dependent(x, kernel, g, cpu=by_products, default=by_conv)


def _kernel_gradient_by_products(x, kernel, g, strides, padding):
  flat = g.reshape(-1, g.shape[-1])
  products = [
    (shifted.reshape(-1, x.shape[-1]).T @ flat).astype(kernel.dtype)
    for shifted in _shifted(x, kernel.shape, strides, padding)
  ]
  return jnp.stack(products).reshape(kernel.shape)


conv.defvjp(
  lambda x, kernel, strides, padding: (conv(x, kernel, strides, padding), (x, kernel)), _conv_bwd
)


def flax_conv(x, kernel, strides, padding, **options):
  """`conv` in the form that `nn.Conv(conv_general_dilated=)` wants.

  In float64, which XLA's CPU backend convolves some twenty times more slowly than it
  multiplies matrices, it is a sum of products.
  """
  dilations = options.get("lhs_dilation"), options.get("rhs_dilation")
  if any(step != 1 for steps in dilations for step in steps or ()):
    raise NotImplementedError("conv has no dilation")
  if x.dtype == jnp.float64:
    return _conv_by_products(x, kernel, tuple(strides), padding)
  return conv(x, kernel, tuple(strides), padding)


def _conv_by_products(x, kernel, strides, padding):
  places = kernel.reshape(-1, *kernel.shape[2:])
  shifts = _shifted(x, kernel.shape, strides, padding)
  return sum((shifted @ place for shifted, place in zip(shifts, places)), jnp.zeros((), x.dtype))


def _shifted(x, kernel_shape, strides, padding):
  """What each place of a kernel meets, row by row: [B, H', W', C] each, of the output's size."""
  pads = jax.lax.padtype_to_pads(x.shape[1:3], kernel_shape[:2], strides, padding)
  size = [
    (n + low + high - k) // stride + 1
    for n, (low, high), k, stride in zip(x.shape[1:3], pads, kernel_shape[:2], strides)
  ]
  padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  for i in range(kernel_shape[0]):
    for j in range(kernel_shape[1]):
      end = [first + (n - 1) * stride + 1 for first, n, stride in zip((i, j), size, strides)]
      yield jax.lax.slice(padded, (0, i, j, 0), (len(x), *end, x.shape[-1]), (1, *strides, 1))


def at_least_float32(dtype) -> jnp.dtype:
  """In which logits are handed out: float32, or float64 of a network that computes in it."""
  return jnp.dtype(jnp.float64) if jnp.dtype(dtype) == jnp.float64 else jnp.dtype(jnp.float32)
