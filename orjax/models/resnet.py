"""ResNet-18, 34 and 50 for ImageNet, as torchvision builds them.

Stride 2 is on the 3x3 convolution of a bottleneck, padding is explicit, and modules have
torchvision's names, so that its weights load one by one: see `torchvision`. Images come in
[0, 1]; the published networks' normalisation is done here.
"""

import functools
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
import numpy as np

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)


def _conv(features, kernel, stride, name):
  padding = kernel // 2
  return nn.Conv(
    features,
    (kernel, kernel),
    (stride, stride),
    use_bias=False,
    name=name,
    padding=((padding, padding), (padding, padding)),
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
  )


class _Block(nn.Module):
  """Two 3x3 convolutions, or 1x1, 3x3, 1x1 (a bottleneck), around a shortcut."""

  features: int
  stride: int
  bottleneck: bool

  @nn.compact
  def __call__(self, x, train: bool):
    norm = functools.partial(
      nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5
    )
    out = self.features * (4 if self.bottleneck else 1)
    plan = (
      [(self.features, 1, 1), (self.features, 3, self.stride), (out, 1, 1)]
      if self.bottleneck
      else [(out, 3, self.stride), (out, 3, 1)]
    )
    y = x
    for i, (features, kernel, stride) in enumerate(plan, 1):
      y = norm(name=f"bn{i}")(_conv(features, kernel, stride, f"conv{i}")(y))
      if i < len(plan):
        y = nn.relu(y)
    if x.shape[-1] != out or self.stride != 1:
      x = norm(name="downsample_1")(_conv(out, 1, self.stride, "downsample_0")(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """Four groups of blocks between a 7x7 convolution and a dense layer: logits."""

  blocks: tuple[int, ...]
  bottleneck: bool
  num_classes: int = 1000

  @nn.compact
  def __call__(self, images, train: bool = False):
    mean, stddev = (jnp.asarray(x)[None, None, None] for x in (_MEAN, _STDDEV))
    x = _conv(64, 7, 2, "conv1")((images - mean) / stddev)
    x = nn.relu(
      nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="bn1")(x)
    )
    padding: Any = ((1, 1), (1, 1))
    x = nn.max_pool(x, (3, 3), (2, 2), padding)
    for group, num_blocks in enumerate(self.blocks, 1):
      for i in range(num_blocks):
        stride = 2 if group > 1 and i == 0 else 1
        x = _Block(64 * 2 ** (group - 1), stride, self.bottleneck, name=f"layer{group}_{i}")(
          x, train
        )
    return nn.Dense(self.num_classes, name="fc")(x.mean((1, 2))).astype(jnp.float32)


def resnet18() -> ResNet:
  """11,689,512 parameters."""
  return ResNet((2, 2, 2, 2), bottleneck=False)


def resnet34() -> ResNet:
  """21,797,672 parameters."""
  return ResNet((3, 4, 6, 3), bottleneck=False)


def resnet50() -> ResNet:
  """25,557,032 parameters."""
  return ResNet((3, 4, 6, 3), bottleneck=True)
