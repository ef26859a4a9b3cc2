"""From a model's name to a `Classifier`: what the rest of orjax sees of Flax."""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from orjax.models import convnet
from orjax.models import resnet


class Classifier(NamedTuple):
  """An image classifier as pure functions.

  Attributes:
    init: `init(key) -> variables`.
    apply: `apply(variables, images [B, H, W, C] in [0, 1]) -> logits [B, K]`,
      at inference: no dropout, running statistics.
    apply_train: `apply_train(variables, key, images) -> (logits, variables)`, in
      training: dropout from `key`, the returned variables carry new statistics.
    image_shape: (H, W, C).
    num_classes: K.
  """

  init: Callable[[jax.Array], Any]
  apply: Callable[[Any, jax.Array], jax.Array]
  apply_train: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
  image_shape: tuple[int, int, int]
  num_classes: int


_MODULES = {
    "convnet_digits": (convnet.digits, (8, 8, 1)),
    "convnet_mnist": (convnet.mnist, (28, 28, 1)),
    "convnet_cifar10": (convnet.cifar10, (32, 32, 3)),
    "resnet18": (resnet.resnet18, (224, 224, 3)),
    "resnet34": (resnet.resnet34, (224, 224, 3)),
    "resnet50": (resnet.resnet50, (224, 224, 3)),
}


def names() -> tuple[str, ...]:
  """Names that `build` knows."""
  return tuple(_MODULES)


def build(name: str) -> Classifier:
  """Builds a classifier by name.

  Args:
    name: one of `names()`.

  Returns:
    A `Classifier`; two calls give functions that compute the same.

  Raises:
    ValueError: the name is unknown.
  """
  if name not in _MODULES:
    raise ValueError(f"unknown model {name!r}: choose one of {', '.join(names())}")
  make_module, image_shape = _MODULES[name]
  module = make_module()

  def init(key):
    # One compiled program instead of hundreds of eager calls.
    return jax.jit(module.init)(key, jnp.zeros((1, *image_shape), jnp.float32))

  def apply(variables, images):
    return module.apply(variables, images)

  def apply_train(variables, key, images):
    logits, updates = module.apply(
        variables, images, train=True, rngs={"dropout": key},
        mutable=["batch_stats"])
    return logits, {**variables, **updates}

  return Classifier(init, apply, apply_train, image_shape, module.num_classes)
