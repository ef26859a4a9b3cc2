"""The classifier under attack: one of orjax's, trained first if need be, or the user's own."""

from typing import NamedTuple

from harness import recipes
from harness import request
from harness import trainings
from harness.classifiers import trained
from harness.classifiers import users
from harness.classifiers.model import default_rows_per_call
from harness.classifiers.model import in_float64
from harness.classifiers.model import Model
from harness.recipes import Recipe
from harness.request import DataRequest
from harness.request import Option
from harness.trainings import Training

__all__ = [
  "OPTIONS",
  "ClassifierRequest",
  "Model",
  "Recipe",
  "Training",
  "in_float64",
  "load",
  "read",
  "recipes",
  "refuse_dear",
  "rows_per_call",
  "shapes",
  "trained",
  "users",
]

_TORCHVISION = ("resnet18", "resnet34", "resnet50")
_OWN = (
  Option(
    "model",
    "string",
    None,
    "your own: path/to/file.py:factory or package.module:factory, where "
    "factory() returns (apply, variables, image_shape, num_classes) and apply(variables, images) "
    "maps float32 images [B, H, W, C] in [0, 1] to logits [B, K], or apply(variables, keys, "
    "images) where it is random; or resnet18, resnet34 or resnet50 with --weights",
    request.WHAT,
  ),
  Option(
    "weights",
    "string",
    None,
    "torchvision's weights of a --model of its: a .safetensors or .npz file",
    request.WHAT,
    science=False,
  ),
  Option(
    "host_model",
    "string",
    None,
    "a model outside JAX, such as a remote endpoint: "
    "path/to/file.py:factory, where factory() returns (fn, image_shape, num_classes), and fn maps "
    "a NumPy batch [B, H, W, C] to probabilities [B, K]",
    request.WHAT,
  ),
  Option(
    "judge",
    "string",
    None,
    "--host_model: the undefended model behind a server that defends itself, which says whether an "
    "image is really adversarial: path/to/file.py:factory, as --host_model; by default the server "
    "judges itself",
  ),
  Option(
    "price_per_1000",
    "float",
    None,
    "--host_model: what 1,000 rows cost, for the estimate before and the bill after",
    request.OUTPUT,
    science=False,
    above=0,
  ),
  Option(
    "max_rows",
    "integer",
    None,
    "--host_model: rows this process sends at most, of attacks, "
    "verdicts and the choice of images together",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
)
_ROWS_PER_CALL = Option(
  "rows_per_call",
  "integer",
  None,
  "for memory: images the network sees at a time; all, or of "
  "large images 16 on a CPU and 256 elsewhere; a folder of records keeps to one value",
  request.SPEED,
  low=1,
)
OPTIONS = (
  *recipes.DESCRIPTION,
  *trainings.OPTIONS,
  *recipes.PUBLISHED,
  recipes.MODEL_DIR,
  *_OWN,
  _ROWS_PER_CALL,
)


class ClassifierRequest(NamedTuple):
  """Which classifier.

  Attributes:
    recipe: of a network of orjax's; None of the user's.
    training: how it is trained, if it must be.
    model: the user's, in JAX.
    weights: of a network of torchvision's.
    host_model: the user's, outside JAX.
    judge: of a host model, undefended; None where it judges itself.
    max_rows: that it is sent.
    price_per_1000: of rows; None where nobody says.
    model_dir: where trained classifiers are.
    network_file: of a published one.
    retrain: leave published ones alone.
    rows_per_call: images a call; None for what fits.
  """

  recipe: Recipe | None
  training: Training
  model: str | None
  weights: str | None
  host_model: str | None
  judge: str | None
  max_rows: int | None
  price_per_1000: float | None
  model_dir: str
  network_file: str | None
  retrain: bool
  rows_per_call: int | None


def read(values: request.Values, asked: DataRequest) -> ClassifierRequest:
  """The request that the flags make.

  Raises:
    ValueError: flags that do not go together.
  """
  model, host_model, weights = values["model"], values["host_model"], values["weights"]
  if model and host_model:
    raise ValueError("--model and --host_model name two models: pass one of them")
  if model in _TORCHVISION and not weights:
    raise ValueError(
      f"--model={model} needs --weights: a .safetensors or .npz file of torchvision's"
    )
  if weights and model not in _TORCHVISION:
    raise ValueError(
      "--weights is for --model=resnet18, resnet34 or resnet50: a factory brings its own"
    )
  if not host_model:
    request.refuse_unneeded(values, ("max_rows", "judge", "price_per_1000"), "is for --host_model")
  recipe = None
  if model or host_model:
    request.refuse_unneeded(
      values,
      [option.name for option in (*recipes.DESCRIPTION, *trainings.OPTIONS, *recipes.PUBLISHED)],
      "is about networks that orjax trains",
    )
  else:
    recipe = recipes.read(values)
    recipes.network(asked, recipe)
    if values["network_file"]:
      training_flags = [option.name for option in trainings.OPTIONS]
      request.refuse_unneeded(
        values, ["retrain", *training_flags], "is about training, and --network_file is trained"
      )
  return ClassifierRequest(
    recipe,
    trainings.read(values),
    **values.named(
      "model",
      "weights",
      "host_model",
      "judge",
      "max_rows",
      "price_per_1000",
      "model_dir",
      "network_file",
      "retrain",
      "rows_per_call",
    ),
  )


def refuse_dear(asked: ClassifierRequest) -> None:
  """Raises ValueError for a model that is too dear to bisect strengths on: one outside JAX."""
  if asked.host_model:
    raise ValueError(
      "--host_model would be asked dozens of times about every test image: pass a --model in JAX"
    )


def shapes(asked: ClassifierRequest, images: DataRequest) -> tuple[tuple, int]:
  """(image_shape, num_classes) of the model, before any training."""
  if asked.host_model:
    return users.host_model(asked.host_model)[1:]
  if asked.model:
    return users.jax_model(asked.model, asked.weights)[2:4]
  assert asked.recipe, "every other model has a recipe"
  classifier = trained.classifier(images, asked.recipe)
  return classifier.image_shape, classifier.num_classes


def rows_per_call(asked: ClassifierRequest, image_shape: tuple[int, ...]) -> int | None:
  """Images that the network sees at a time; None for all."""
  return asked.rows_per_call or default_rows_per_call(image_shape)


def load(asked: ClassifierRequest, images: DataRequest, seed: int) -> Model:
  """The model that is asked for; the data set's own is trained first if need be."""
  if asked.model:
    found = users.jax_model(asked.model, asked.weights)
    return users.from_jax_model(asked.model, found, rows_per_call(asked, found.image_shape))
  if asked.host_model:
    found = users.host_model(asked.host_model)
    return users.from_host_model(
      asked.host_model,
      found,
      rows_per_call(asked, found.image_shape),
      asked.max_rows,
      users.host_model(asked.judge, "judge") if asked.judge else None,
    )
  assert asked.recipe, "every other model has a recipe"
  image_shape = trained.classifier(images, asked.recipe).image_shape
  return trained.load(
    asked.model_dir,
    images,
    asked.recipe,
    asked.training,
    seed,
    rows_per_call(asked, image_shape),
    network_file=asked.network_file,
    retrain=asked.retrain,
  )
