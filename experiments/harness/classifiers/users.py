"""The user's own model: a factory in a file, of a JAX function or of any callable."""

from collections.abc import Callable
import functools
import inspect
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness import own
from harness.classifiers.model import from_jax
from harness.classifiers.model import Model
from orjax import host
from orjax import models
from orjax import oracles

# What JAX raises where a function asks for the number that a traced array will be.
_NOT_TRACED = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)


class JaxModel(NamedTuple):
  """What a factory of --model returns; `random` where its `apply` takes `keys`, too."""

  apply: Callable
  variables: Any
  image_shape: tuple[int, int, int]
  num_classes: int
  random: bool = False

  def answer(self, variables, images):
    """Logits of some images; of a random model, with keys of our own."""
    if not self.random:
      return self.apply(variables, images)
    return self.apply(variables, jax.random.split(jax.random.key(0), len(images)), images)


class HostModel(NamedTuple):
  """What a factory of --host_model returns."""

  fn: Callable
  image_shape: tuple[int, int, int]
  num_classes: int


def name(value: str) -> str:
  """The user's model, for the records."""
  return value if value in models.torchvision_names() else own.name(value)


@functools.cache
def jax_model(value: str, weights: str | None) -> JaxModel:
  """What --model stands for, checked.

  Raises:
    ValueError: the factory returns something else, or its model fails.
  """
  if value in models.torchvision_names():
    assert weights, "the request has them"
    classifier = models.build(value)
    expected = jax.eval_shape(classifier.init, jax.random.key(0))
    return JaxModel(
      classifier.apply,
      models.load_torchvision(weights, expected),
      classifier.image_shape,
      classifier.num_classes,
    )
  found = own.made(value, "model")
  if not isinstance(found, tuple) or len(found) != 4:
    raise ValueError(
      f"--model={value}: the factory must return (apply, variables, image_shape, num_classes), "
      f"not {type(found).__name__}"
    )
  apply, variables, image_shape, num_classes = found
  variables = {} if variables is None else variables
  _check_arrays(value, variables)
  if not callable(apply):
    raise ValueError(
      f"--model={value}: the first of what the factory returns must be apply(variables, images), "
      f"not {type(apply).__name__}"
    )
  image_shape, num_classes = _checked_shapes(image_shape, num_classes, "model")
  made = JaxModel(apply, variables, image_shape, num_classes, _takes_keys(apply))
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  try:
    answer = jax.eval_shape(made.answer, variables, images)
  except Exception as e:  # whatever the user's code raises
    reason = str(e).partition("\n")[0]
    if isinstance(e, _NOT_TRACED):  # JAX says it on a page
      reason = "it needs numbers where JAX has none yet: write it with jax.numpy, or pass its like "
      reason += "in NumPy to --host_model"
    raise ValueError(
      f"--model={value}: apply fails on images of shape {images.shape}: {reason}"
    ) from e
  if getattr(answer, "shape", None) != (2, num_classes) or answer.dtype != jnp.float32:
    raise ValueError(
      f"--model={value}: apply must return float32 logits of shape (2, {num_classes}) for 2 "
      f"images, not {answer}"
    )
  return made


def _takes_keys(apply):
  try:
    return "keys" in inspect.signature(apply).parameters
  except (TypeError, ValueError):  # of a function that does not say
    return False


@functools.cache
def host_model(value: str, flag: str = "host_model") -> HostModel:
  """What --host_model or --judge stands for, checked.

  Raises:
    ValueError: the factory returns something else.
  """
  found = own.made(value, flag)
  if not isinstance(found, tuple) or len(found) != 3 or not callable(found[0]):
    raise ValueError(f"--{flag}={value}: the factory must return (fn, image_shape, num_classes)")
  return HostModel(found[0], *_checked_shapes(*found[1:], flag))


def _check_arrays(value, variables):
  """Raises ValueError for variables that are no arrays."""
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
      raise ValueError(
        f"--model={value}: variables must be arrays, in trees, but variables"
        f"{jax.tree_util.keystr(path)} is of type {type(leaf).__name__}: convert it to NumPy's, or "
        f"leave it out"
      )


def _check_logits(value, found):
  """Raises ValueError for a network that ends with a softmax: another would come behind it."""
  images = np.random.default_rng(0).uniform(size=(2, *found.image_shape)).astype(np.float32)
  answers = np.asarray(jax.jit(found.answer)(found.variables, images))
  if (answers >= 0).all() and np.allclose(answers.sum(-1), 1, atol=1e-3):
    raise ValueError(
      f"--model={value}: apply answers probabilities, which sum to 1, and should answer logits: "
      f"leave its softmax out"
    )


def _checked_shapes(image_shape, num_classes, flag):
  """The shapes a factory returned, as plain numbers."""
  try:
    image_shape, num_classes = tuple(int(size) for size in image_shape), int(num_classes)
  except (TypeError, ValueError) as e:
    raise ValueError(
      f"--{flag}: image_shape must be (H, W, C) and num_classes a number, not {image_shape!r} "
      f"and {num_classes!r}"
    ) from e
  if len(image_shape) != 3 or min(image_shape) < 1 or num_classes < 2:
    raise ValueError(
      f"--{flag}: image_shape must be (H, W, C) and num_classes at least 2, not {image_shape} "
      f"and {num_classes}"
    )
  return image_shape, num_classes


def computes_float64(model: Model) -> bool:
  """Whether a model in JAX answers in float64 where it is given that."""
  if model.random:
    return False
  with jax.enable_x64(True):
    double = lambda x: jax.ShapeDtypeStruct(
      x.shape, jnp.float64 if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
    )
    images = jax.ShapeDtypeStruct((2, *model.image_shape), jnp.float64)
    assert model.apply_float64, "a model outside JAX is refused before"
    variables = jax.tree.map(double, model.variables)
    return jax.eval_shape(model.apply_float64, variables, images).dtype == jnp.float64


def from_jax_model(value: str, found: JaxModel, rows_per_call: int | None) -> Model:
  """The `Model` of what --model stands for.

  Raises:
    ValueError: the user's network answers probabilities.
  """
  own = value not in models.torchvision_names()
  if own:
    _check_logits(value, found)
  model = from_jax(*found[:4], name(value), rows_per_call=rows_per_call, random=found.random)
  return model._replace(users=own)


def from_host_model(
  value: str,
  found: HostModel,
  rows_per_call: int | None,
  max_rows: int | None,
  judge: HostModel | None = None,
) -> Model:
  """The `Model` of what --host_model stands for, and of its --judge.

  Raises:
    ValueError: the judge looks at other images, or answers other classes.
  """
  if judge and judge[1:] != found[1:]:
    raise ValueError(
      f"--judge is of images {judge.image_shape} and {judge.num_classes} classes, and "
      f"--host_model of {found.image_shape} and {found.num_classes}: they must be of the same"
    )
  endpoint = host.Endpoint(
    found.fn, found.num_classes, rows_per_call=rows_per_call, max_rows=max_rows
  )
  judging = None
  if judge:
    judging = host.Endpoint(judge.fn, judge.num_classes, rows_per_call=rows_per_call)
  oracle = oracles.from_endpoint(endpoint)
  return Model(
    lambda variables: oracle,
    None,
    None,
    None,
    (),
    found.image_shape,
    found.num_classes,
    name(value),
    "outside JAX",
    judge=judging and oracles.from_endpoint(judging),
    endpoints=(endpoint, judging) if judging else (endpoint,),
  )
