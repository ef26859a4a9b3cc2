"""Your own model in JAX: a linear classifier of the digits' class means.

python experiments/blackbox_attacks.py --model=experiments/examples/my_model.py:factory
"""

import numpy as np

from orjax import datasets


def weights_and_bias():
  """The nearest class mean, as a linear classifier."""
  train = datasets.load("digits", "train")
  images = datasets.to_float(train.images).reshape(-1, 64)
  means = np.stack([images[train.labels == k].mean(0) for k in range(10)])
  return 10 * means.T, -5 * (means**2).sum(-1)


def apply(variables, images):
  """Logits [B, K] of float32 images [B, H, W, C] in [0, 1]."""
  return images.reshape(len(images), -1) @ variables["weights"] + variables["bias"][None]


def factory():
  """What --model wants: (apply, variables, image_shape, num_classes)."""
  weights, bias = weights_and_bias()
  return apply, {"weights": weights, "bias": bias}, (8, 8, 1), 10
