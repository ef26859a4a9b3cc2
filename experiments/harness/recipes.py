"""The classifiers that orjax trains: what makes two of them differ, and where they are found."""

from typing import NamedTuple

from harness import request
from harness.request import DataRequest
from harness.request import Option

NETWORKS = ("convnet", "resnet32", "wide_resnet32_10")
TRAINED_WITH = ("none", "or", "pgd", "pgd+or", "distillation", "rse", "augmentation")
_LOCATIONS = ("logits", "every", "first", "second")
_BEFORE = "before"  # every convolution: of --trained_with=rse alone

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
    "what it is trained with: output randomization (or), adversarial examples (pgd), or both; or "
    "a rival: defensive distillation, random self-ensembling (rse: Gaussian noise before every "
    "convolution, in training and at test time), or Gaussian noise on the training images "
    "(augmentation: Cohen et al.'s, not clipped)",
    request.WHAT,
    choices=TRAINED_WITH,
  ),
  Option(
    "stddev",
    "float",
    100.0,
    "of the noise in training, with --trained_with=or and pgd+or; rse and augmentation must be "
    "told theirs",
    request.WHAT,
    low=0,
  ),
  Option(
    "init_stddev",
    "float",
    None,
    "--trained_with=rse: of the noise before the first convolution; --stddev by default, the one "
    "number of the paper, where Liu et al. have 0.2 and a --stddev of 0.1",
    request.WHAT,
    low=0,
  ),
  Option(
    "temperature",
    "float",
    100.0,
    "--trained_with=distillation: of the teacher and the student in training",
    request.WHAT,
    above=0,
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
    stddev: of the noise in training, on the logits or inside the network.
    location: where that noise is added.
    substitute: whether it is an attacker's own, trained from another seed.
    init_stddev: of the noise before the first convolution, where it is another; None for
      `stddev`.
    image_stddev: of noise on the training images.
    temperature: in training; 1 but for a distilled network.
  """

  network: str = "convnet"
  trained_with: str = "none"
  stddev: float = 0.0
  location: str = "logits"
  substitute: bool = False
  init_stddev: float | None = None
  image_stddev: float = 0.0
  temperature: float = 1.0

  @property
  def inside(self) -> str | None:
    """Where noise is added inside the network; None for nowhere."""
    return None if self.location == "logits" or not self.stddev else self.location

  @property
  def init_ratio(self) -> float:
    """Noise before the first convolution over that before the others."""
    return 1.0 if self.init_stddev is None else self.init_stddev / self.stddev


# No training of the data set's labels: a small network that learns the victim's answers.
DISTILLED = Recipe("distilled", substitute=True)


def read(values: request.Values) -> Recipe:
  """The recipe that the flags describe.

  Raises:
    ValueError: flags that do not go together.
  """
  _check(values)
  trained_with, stddev = values["trained_with"], values["stddev"]
  plain = Recipe(values["network"], trained_with)
  if "or" in trained_with.split("+"):
    return plain._replace(stddev=stddev, location=values["noise_location"])
  if trained_with == "rse":
    init = None if values["init_stddev"] == stddev else values["init_stddev"]
    return plain._replace(stddev=stddev, location=_BEFORE, init_stddev=init)
  if trained_with == "augmentation":
    return plain._replace(image_stddev=stddev)
  if trained_with == "distillation":
    return plain._replace(temperature=values["temperature"])
  return plain


def _check(values):
  """Refuses numbers of another training, and trainings that lack theirs."""
  trained_with, network = values["trained_with"], values["network"]
  noisy, adversarial = "or" in trained_with.split("+"), "pgd" in trained_with
  rival_noise = trained_with in ("rse", "augmentation")
  for name, needed, training in (
    ("stddev", noisy or rival_noise, "or, rse or augmentation"),
    ("noise_location", noisy, "or"),
    ("noisy_adversary", noisy and adversarial, "pgd+or"),
    ("adversary_steps", adversarial, "pgd"),
    ("adversary_statistics", adversarial, "pgd"),
    ("init_stddev", trained_with == "rse", "rse"),
    ("temperature", trained_with == "distillation", "distillation"),
  ):
    if not needed:
      request.refuse_unneeded(values, [name], f"needs --trained_with={training}")
  if rival_noise and not (values["stddev"] and "stddev" in values.given):
    raise ValueError(f"--trained_with={trained_with} needs its noise: pass a --stddev above 0")
  if trained_with == "distillation" and network != "convnet":
    raise ValueError(
      f"--trained_with=distillation is a recipe of convnets: leave --network={network} out"
    )


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
  return f"{plain}{_training(recipe)}{own}"


def _training(recipe):
  """What a name says of the training."""
  kind = recipe.trained_with
  if kind == "none":
    return ""
  if kind == "distillation":
    return f"-{kind}{recipe.temperature:g}"
  if kind == "augmentation":
    return f"-{kind}{recipe.image_stddev:g}"
  if kind == "rse":
    init = "" if recipe.init_stddev is None else f"-init{recipe.init_stddev:g}"
    return f"-{kind}{recipe.stddev:g}{init}"
  noise = f"{recipe.stddev:g}" if "or" in kind.split("+") else ""
  place = "" if recipe.location == "logits" else f"-{recipe.location}"
  return f"-{kind}{noise}{place}"


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
