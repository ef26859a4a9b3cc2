"""The user's own model: a factory in a file, of a JAX function or of any callable."""

from collections.abc import Callable
import functools
import importlib
import importlib.util
import inspect
import pathlib
import sys

from absl import flags
import jax
import jax.numpy as jnp
import recipes

from orjax import models

MODEL = flags.DEFINE_string(
  "model",
  None,
  "path/to/file.py:factory or package.module:factory, where factory() "
  "returns (apply, variables, image_shape, num_classes) and apply(variables, images) maps "
  "float32 images [B, H, W, C] in [0, 1] to logits [B, K]; or resnet18, resnet34 or resnet50 "
  "with --weights (default: the data set's small network).",
)
WEIGHTS = flags.DEFINE_string(
  "weights", None, "torchvision's weights of a --model of its: a .safetensors or .npz file."
)
HOST_MODEL = flags.DEFINE_string(
  "host_model",
  None,
  "path/to/file.py:factory or package.module:factory of a model outside "
  "JAX, such as a remote endpoint: factory() returns (fn, image_shape, num_classes), and fn "
  "maps a NumPy batch [B, H, W, C] to probabilities [B, K].",
)
MAX_ROWS = flags.DEFINE_integer(
  "max_rows",
  None,
  "--host_model: rows this process sends at most, of attacks, verdicts "
  "and the choice of images together.",
  lower_bound=1,
)


def check_flags() -> None:
  """Raises ValueError for flags that do not go together."""
  if MODEL.value and HOST_MODEL.value:
    raise ValueError("--model and --host_model name two models: pass one of them")
  if WEIGHTS.value and not MODEL.value:
    raise ValueError("--weights needs --model=resnet18, resnet34 or resnet50")
  if MODEL.value or HOST_MODEL.value:
    for flag in (*recipes.DESCRIBING, *recipes.TRAINING):
      if flag.present:
        raise ValueError(f"--{flag.name} is about networks that orjax trains: leave it out")
  if MAX_ROWS.value and not HOST_MODEL.value:
    raise ValueError("--max_rows is for --host_model: leave it out")


def refuse() -> None:
  """For mains that have no use for the user's model."""
  for flag in (MODEL, WEIGHTS, HOST_MODEL, MAX_ROWS):
    if flag.value is not None:
      raise ValueError(f"--{flag.name} is for attacks: leave it out")


def name() -> str:
  """The user's model, for the records."""
  if MODEL.value in models.torchvision_names():
    return MODEL.value
  module, factory = (MODEL.value or HOST_MODEL.value).rsplit(":", 1)
  return f"{pathlib.Path(module).stem if module.endswith('.py') else module}:{factory}"


@functools.cache
def jax_model():
  """(apply, variables, image_shape, num_classes): what --model stands for, checked."""
  if MODEL.value in models.torchvision_names():
    if not WEIGHTS.value:
      raise ValueError(
        f"--model={MODEL.value} needs --weights: a .safetensors or .npz file of torchvision's"
      )
    classifier = models.build(MODEL.value)
    expected = jax.eval_shape(classifier.init, jax.random.key(0))
    return (
      classifier.apply,
      models.load_torchvision(WEIGHTS.value, expected),
      classifier.image_shape,
      classifier.num_classes,
    )
  if WEIGHTS.value:
    raise ValueError(
      "--weights is for --model=resnet18, resnet34 or resnet50: a factory brings its own"
    )
  found = _call(MODEL.value, "model")
  if not isinstance(found, tuple) or len(found) != 4:
    raise ValueError(
      f"--model={MODEL.value}: the factory must return (apply, variables, "
      f"image_shape, num_classes), not {type(found).__name__}"
    )
  apply, variables, image_shape, num_classes = found
  variables = {} if variables is None else variables
  if not callable(apply):
    raise ValueError(
      f"--model={MODEL.value}: the first of what the factory returns must be "
      f"apply(variables, images), not {type(apply).__name__}"
    )
  image_shape, num_classes = _checked_shapes(image_shape, num_classes, "model")
  try:
    answer = jax.eval_shape(apply, variables, jax.ShapeDtypeStruct((2, *image_shape), jnp.float32))
  except Exception as e:  # whatever the user's code raises
    raise ValueError(
      f"--model={MODEL.value}: apply fails on images of shape "
      f"(2, {', '.join(map(str, image_shape))}): {e}"
    ) from e
  if getattr(answer, "shape", None) != (2, num_classes) or answer.dtype != jnp.float32:
    raise ValueError(
      f"--model={MODEL.value}: apply must return float32 logits of shape "
      f"(2, {num_classes}) for 2 images, not {answer}"
    )
  return apply, variables, image_shape, num_classes


def computes_float64() -> bool:
  """Whether the --model answers in float64 where it is given that."""
  apply, variables, image_shape, _ = jax_model()
  with jax.enable_x64(True):
    double = lambda x: jax.ShapeDtypeStruct(
      x.shape, jnp.float64 if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
    )
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float64)
    return jax.eval_shape(apply, jax.tree.map(double, variables), images).dtype == jnp.float64


@functools.cache
def outside_model():
  """What the user's factory of a model outside JAX returns, checked."""
  found = _call(HOST_MODEL.value, "host_model")
  if not isinstance(found, tuple) or len(found) != 3 or not callable(found[0]):
    raise ValueError(
      f"--host_model={HOST_MODEL.value}: the factory must return (fn, image_shape, num_classes)"
    )
  return found[0], *_checked_shapes(*found[1:], "host_model")


def _checked_shapes(image_shape, num_classes, flag):
  """The shapes a factory returned, as plain numbers."""
  image_shape = tuple(int(size) for size in image_shape)
  if len(image_shape) != 3 or min(image_shape) < 1 or int(num_classes) < 2:
    raise ValueError(
      f"--{flag}: image_shape must be (H, W, C) and num_classes at least 2, "
      f"not {image_shape} and {num_classes}"
    )
  return image_shape, int(num_classes)


def _call(value: str, flag: str):
  """What the user's factory returns."""
  factory = _from_module(value, flag)
  try:
    return factory()
  except Exception as e:  # whatever the user's code raises
    raise ValueError(f"--{flag}={value}: the factory fails: {type(e).__name__}: {e}") from e


def _from_module(value: str, flag: str) -> Callable:
  """The function that `file.py:function` or `package.module:function` names."""
  module_name, _, function = value.rpartition(":")
  if not module_name:
    raise ValueError(
      f"--{flag}={value} names no function: pass path/to/file.py:factory or package.module:factory"
    )
  try:
    if module_name.endswith(".py"):
      path = pathlib.Path(module_name).expanduser()
      if not path.is_file():
        raise ValueError(f"--{flag}={value}: there is no file {path}")
      spec = importlib.util.spec_from_file_location(path.stem, path)
      module = importlib.util.module_from_spec(spec)
      sys.modules[spec.name] = module  # where dataclasses look for their module
      spec.loader.exec_module(module)
    else:
      module = importlib.import_module(module_name)
  except (ImportError, SyntaxError, NameError) as e:
    raise ValueError(f"--{flag}={value} cannot be imported: {e}") from e
  found = getattr(module, function, None)
  if not inspect.isroutine(found):
    raise ValueError(f"--{flag}={value}: {module_name} has no function {function}")
  return found
