"""The classifiers that orjax trains: what makes two of them differ, and where they are found."""

from typing import NamedTuple

from harness import request
from harness.request import DataRequest
from harness.request import Option

NETWORKS = ("convnet", "resnet32", "wide_resnet32_10")
TRAINED_WITH = ("none", "or", "pgd", "pgd+or")
_LOCATIONS = ("logits", "every", "first", "second")

# Which classifier is meant.
DESCRIPTION = (
  Option(
    "network",
    "enum",
    "convnet",
    "ZOO's network of the data set, or, of CIFAR10, ResNet-32 or the wide one of Madry et al.",
    request.WHAT,
    choices=NETWORKS,
  ),
  Option(
    "trained_with",
    "enum",
    "none",
    "what it is trained with: output randomization (or), adversarial examples (pgd), or both",
    request.WHAT,
    choices=TRAINED_WITH,
  ),
  Option(
    "stddev",
    "float",
    100.0,
    "of the noise in training, with --trained_with=or and pgd+or",
    request.WHAT,
    low=0,
  ),
  Option(
    "noise_location",
    "enum",
    "logits",
    "where that noise is added: to the logits, or after "
    "convolutions: every one, or the first or the second of each block",
    request.WHAT,
    choices=_LOCATIONS,
  ),
)
MODEL_DIR = Option(
  "model_dir",
  "string",
  "models",
  "where trained classifiers are saved and looked for",
  request.WHAT,
  science=False,
)
# Which of the networks that fit the description; the fingerprint of its parameters stands for it.
PUBLISHED = (
  Option(
    "network_file",
    "string",
    None,
    "a published network, .safetensors, to attack; by default that of "
    "experiments/networks, where --model_dir has none and no other training is asked for",
    request.WHAT,
    science=False,
  ),
  Option(
    "retrain",
    "boolean",
    False,
    "train the network, where --model_dir has none, even if it was published",
    request.WHAT,
    science=False,
  ),
)


class Recipe(NamedTuple):
  """What makes two classifiers of one data set differ.

  Attributes:
    network: of `NETWORKS`.
    trained_with: of `TRAINED_WITH`.
    stddev: of the noise in training.
    location: where that noise is added.
    substitute: whether it is an attacker's own, trained from another seed.
  """

  network: str = "convnet"
  trained_with: str = "none"
  stddev: float = 0.0
  location: str = "logits"
  substitute: bool = False

  @property
  def inside(self) -> str | None:
    """Where noise is added inside the network; None for nowhere."""
    return None if self.location == "logits" or not self.stddev else self.location


# No training of the data set's labels: a small network that learns the victim's answers.
DISTILLED = Recipe("distilled", substitute=True)


def read(values: request.Values) -> Recipe:
  """The recipe that the flags describe.

  Raises:
    ValueError: flags that do not go together.
  """
  trained_with = values["trained_with"]
  noisy, adversarial = "or" in trained_with.split("+"), "pgd" in trained_with
  for name, needed, training in (
    ("stddev", noisy, "or"),
    ("noise_location", noisy, "or"),
    ("noisy_adversary", noisy and adversarial, "pgd+or"),
    ("adversary_steps", adversarial, "pgd"),
    ("adversary_statistics", adversarial, "pgd"),
  ):
    if not needed:
      request.refuse_unneeded(values, [name], f"needs --trained_with={training}")
  if not noisy:
    return Recipe(values["network"], trained_with)
  return Recipe(values["network"], trained_with, values["stddev"], values["noise_location"])


def substitute(recipe: Recipe, stddev: float) -> Recipe:
  """The same network, trained by an attacker with noise on its logits; 0: without."""
  plain = Recipe(recipe.network, "or", stddev) if stddev else Recipe(recipe.network)
  return plain._replace(substitute=True)


def name(asked: DataRequest, recipe: Recipe) -> str:
  """What the classifier is called: in the records, and its folder."""
  if recipe == DISTILLED:
    return recipe.network
  plain = network(asked, recipe)
  plain = plain if asked.dataset else f"{plain}_{asked.name.replace(':', '_')}"
  own = "-substitute" if recipe.substitute else ""
  if recipe.trained_with == "none":
    return plain + own
  noise = f"{recipe.stddev:g}" if "or" in recipe.trained_with.split("+") else ""
  place = "" if recipe.location == "logits" else f"-{recipe.location}"
  return f"{plain}-{recipe.trained_with}{noise}{place}{own}"


def network(asked: DataRequest, recipe: Recipe) -> str:
  """What `models.build` calls the network of a recipe.

  Raises:
    ValueError: orjax trains no such network for these images.
  """
  if asked.dataset == "imagenet2012":
    raise ValueError(
      "orjax trains no ImageNet network: pass yours with --model=path/to/file.py:factory, or "
      "torchvision's weights with --model=resnet50 --weights=FILE"
    )
  if recipe.network != "convnet" and asked.dataset != "cifar10":
    raise ValueError(f"orjax trains no {recipe.network} for {asked.name}: pass --network=convnet")
  return f"{recipe.network}_{asked.dataset}" if asked.dataset else recipe.network
