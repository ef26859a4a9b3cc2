"""From a model's name to a `Classifier`: what the rest of orjax sees of Flax."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from orjax.models import convnet
from orjax.models import resnet
from orjax.models import wide_resnet
from orjax.models.noise import check_noise


class Classifier(NamedTuple):
  """An image classifier as pure functions.

  Attributes:
    init: `init(key) -> variables`.
    apply: `apply(variables, images [B, H, W, C] in [0, 1]) -> logits [B, K]`,
      at inference: no dropout, running statistics, no noise.
    apply_noisy: `apply_noisy(variables, keys [B], images, stddevs=None) -> logits`, at
      inference with the noise inside the network, drawn for each row from its key; with
      `stddevs` [B] in place of the network's own, where it has a place for noise.
    apply_train: `apply_train(variables, key, images) -> (logits, variables)`, in
      training: dropout and the noise inside the network from `key`, the returned
      variables carry new statistics.
    image_shape: (H, W, C).
    num_classes: K.
  """

  init: Callable[[jax.Array], Any]
  apply: Callable[[Any, jax.Array], jax.Array]
  apply_noisy: Callable[..., jax.Array]
  apply_train: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]
  image_shape: tuple[int, int, int]
  num_classes: int


_TRAINED: dict[str, tuple[Callable, tuple[int, int, int]]] = {
  "convnet_digits": (convnet.digits, (8, 8, 1)),
  "convnet_mnist": (convnet.mnist, (28, 28, 1)),
  "convnet_cifar10": (convnet.cifar10, (32, 32, 3)),
  "resnet32_cifar10": (wide_resnet.resnet32, (32, 32, 3)),
  "wide_resnet32_10_cifar10": (wide_resnet.wide_resnet32_10, (32, 32, 3)),
}
_TORCHVISION: dict[str, tuple[Callable, tuple[int, int, int]]] = {
  "resnet18": (resnet.resnet18, (224, 224, 3)),
  "resnet34": (resnet.resnet34, (224, 224, 3)),
  "resnet50": (resnet.resnet50, (224, 224, 3)),
}
_MODULES: dict[str, tuple[Callable, tuple[int, int, int]]] = {**_TRAINED, **_TORCHVISION}


def names() -> tuple[str, ...]:
  """Names that `build` knows."""
  return tuple(_MODULES)


def torchvision_names() -> tuple[str, ...]:
  """Those among them that take torchvision's weights."""
  return tuple(_TORCHVISION)


def build(
  name: str,
  *,
  dtype: Any = jnp.float32,
  noise_location: str | None = None,
  noise_stddev: float = 0.0,
  noise_init_ratio: float = 1.0,
  image_shape: tuple[int, int, int] | None = None,
  num_classes: int | None = None,
) -> Classifier:
  """Builds a classifier by name.

  Args:
    name: one of `names()`, or `convnet` for images of any size.
    dtype: in which the layers compute; parameters and logits are float32 or better all the
      same. Not of torchvision's networks.
    noise_location: after which convolutions Gaussian noise is added in training, and by
      `apply_noisy`: `every`, or the `first` or `second` of each block; `before` every one
      instead, the random self-ensemble of Liu et al. (2018); None for nowhere.
    noise_stddev: of that noise.
    noise_init_ratio: stddev before the first convolution over that before the others, of
      noise `before` them only: 2 in Liu et al.'s networks for CIFAR10 with 0.2 and 0.1.
    image_shape: (H, W, C), of `convnet` only; the others have their own.
    num_classes: K, of `convnet` only.

  Returns:
    A `Classifier`; two calls give functions that compute the same.

  Raises:
    ValueError: the name is unknown, no network has such noise, or sizes are missing.
  """
  check_noise(noise_location, noise_stddev, noise_init_ratio)
  noise_options = {"noise_location": noise_location, "noise_stddev": noise_stddev}
  options = {"dtype": dtype, **noise_options, "noise_init_ratio": noise_init_ratio}
  if name == "convnet":
    if image_shape is None or num_classes is None:
      raise ValueError("convnet is for images of any size: pass image_shape and num_classes")
    make_module = functools.partial(convnet.small, num_classes=num_classes)
  elif name not in _MODULES:
    raise ValueError(f"unknown model {name!r}: choose one of {', '.join(('convnet', *names()))}")
  elif image_shape is not None or num_classes is not None:
    raise ValueError(f"{name} has its own image_shape and num_classes: leave them out")
  else:
    make_module, image_shape = _MODULES[name]
  if name in _TORCHVISION:
    if dtype != jnp.float32 or noise_location is not None or noise_stddev:
      raise ValueError(f"{name} has neither another dtype nor noise: leave them out")
    options = {}
  module: Any = make_module(**options)

  def init(key):
    # One compiled program instead of hundreds of eager calls.
    return jax.jit(module.init)(key, jnp.zeros((1, *image_shape), jnp.float32))

  def apply(variables, images):
    return module.apply(variables, images)

  def apply_noisy(variables, keys, images, stddevs=None):
    if noise_location is None:
      if stddevs is not None:
        raise ValueError(f"{name} was built without a place for noise: pass a noise_location")
      return module.apply(variables, images)
    return module.apply(variables, images, noise_keys=keys, noise_stddevs=stddevs)

  def apply_train(variables, key, images):
    dropout_key, noise_key = jax.random.split(key)
    noise = (
      {} if noise_location is None else {"noise_keys": jax.random.split(noise_key, len(images))}
    )
    logits, updates = module.apply(
      variables, images, train=True, rngs={"dropout": dropout_key}, mutable=["batch_stats"], **noise
    )
    return logits, {**variables, **updates}

  return Classifier(init, apply, apply_noisy, apply_train, image_shape, module.num_classes)
