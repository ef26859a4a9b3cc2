"""An example of a user's own model: MobileNet v1 for ImageNet, from Keras' weights.

    MOBILENET_WEIGHTS=mobilenet_v1_075_224.npz python experiments/blackbox_attacks.py \
        --dataset=imagenet2012 --model=experiments/examples/mobilenet.py:mobilenet_075_224

The file holds the arrays of Keras' published MobileNet by their names, such as
`conv_dw_1/depthwise_kernel`. Depthwise convolutions are written as nine shifted products
and pointwise ones as dots: on a CPU that is six times faster than `lax.conv`.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np

_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_EPSILON = 1e-3  # of the batch normalisation
_BATCH = 16


def mobilenet_075_224():
  """What --model wants: (apply, variables, image_shape, num_classes)."""
  path = os.environ.get("MOBILENET_WEIGHTS")
  if path is None:
    raise ValueError(
      "the environment variable MOBILENET_WEIGHTS names no .npz file: set it "
      "to the weights of MobileNet v1, width 0.75, 224x224"
    )
  with np.load(path) as arrays:
    return apply, fold(dict(arrays)), (224, 224, 3), 1000


def outside():
  """What --host_model wants, (fn, image_shape, num_classes): the same network, from NumPy.

  As a remote model would be asked: a batch of any size in, probabilities out.
  """
  apply_, variables, image_shape, num_classes = mobilenet_075_224()

  @jax.jit
  def answer(images):
    with jax.default_matmul_precision("highest"):
      return jax.nn.softmax(apply_(variables, images))

  def fn(images):
    padded = np.concatenate([images, np.zeros((-len(images) % _BATCH, *image_shape), np.float32)])
    answers = [answer(padded[i : i + _BATCH]) for i in range(0, len(padded), _BATCH)]
    return np.concatenate(answers)[: len(images)]

  return fn, image_shape, num_classes


def fold(raw: dict) -> dict:
  """Variables of `apply`: Keras' arrays with the normalisation folded into the kernels."""

  def folded(kernel, norm, depthwise=False):
    scale = raw[f"{norm}/gamma"] / np.sqrt(raw[f"{norm}/moving_variance"] + _EPSILON)
    weights = raw[kernel].transpose(0, 1, 3, 2) if depthwise else raw[kernel]
    return {
      "kernel": weights * scale,
      "bias": raw[f"{norm}/beta"] - raw[f"{norm}/moving_mean"] * scale,
    }

  variables = {"stem": folded("conv1/kernel", "conv1_bn")}
  for i in range(1, len(_STRIDES) + 1):
    variables[f"depthwise_{i}"] = folded(
      f"conv_dw_{i}/depthwise_kernel", f"conv_dw_{i}_bn", depthwise=True
    )
    variables[f"pointwise_{i}"] = folded(f"conv_pw_{i}/kernel", f"conv_pw_{i}_bn")
  variables["head"] = {"kernel": raw["conv_preds/kernel"][0, 0], "bias": raw["conv_preds/bias"]}
  return variables


def apply(variables: dict, images: jax.Array) -> jax.Array:
  """Logits [B, 1000] of float32 images [B, 224, 224, 3] in [0, 1]."""
  stem = variables["stem"]
  x = jax.lax.conv_general_dilated(
    2 * images - 1, stem["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  x = jnp.clip(x + stem["bias"][None, None, None], 0, 6)
  for i, stride in enumerate(_STRIDES, 1):
    x = depthwise(variables[f"depthwise_{i}"], x, stride)
    x = pointwise(variables[f"pointwise_{i}"], x)
  return x.mean((1, 2)) @ variables["head"]["kernel"] + variables["head"]["bias"][None]


def depthwise(layer: dict, x: jax.Array, stride: int) -> jax.Array:
  """3x3 depthwise convolution of [B, H, W, C] with SAME padding, bias and ReLU6."""
  num_rows, *size, channels = x.shape
  out = [-(-n // stride) for n in size]
  missing = [max((m - 1) * stride + 3 - n, 0) for n, m in zip(size, out)]
  padded = jnp.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)))
  y = jnp.zeros((), x.dtype)
  for i in range(3):
    for j in range(3):
      end = i + (out[0] - 1) * stride + 1, j + (out[1] - 1) * stride + 1
      shifted = jax.lax.slice(
        padded, (0, i, j, 0), (num_rows, *end, channels), (1, stride, stride, 1)
      )
      y = y + shifted * layer["kernel"][i, j, 0][None, None, None]
  return jnp.clip(y + layer["bias"][None, None, None], 0, 6)


def pointwise(layer: dict, x: jax.Array) -> jax.Array:
  """1x1 convolution with bias and ReLU6."""
  y = x.reshape(-1, x.shape[-1]) @ layer["kernel"][0, 0]
  return jnp.clip(y + layer["bias"][None], 0, 6).reshape(*x.shape[:-1], -1)
