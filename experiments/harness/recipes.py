"""The classifiers that orjax trains: what makes two of them differ, and how each is trained."""

from typing import NamedTuple

from harness import request
from harness.request import DataRequest
from harness.request import Option

NETWORKS = ("convnet", "resnet32", "wide_resnet32_10")
TRAINED_WITH = ("none", "or", "pgd", "pgd+or")
_LOCATIONS = ("logits", "every", "first", "second")
_STATISTICS = ("batch", "running")

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
# How it is trained, if it must be; the fingerprint of the trained parameters stands for them.
TRAINING = (
  Option(
    "num_epochs",
    "integer",
    None,
    "training epochs; 50 of convnets, the recipe of the ZOO networks",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
  Option(
    "num_steps",
    "integer",
    None,
    "training steps, instead of --num_epochs; 80,000 of the "
    "ResNets; the learning rate falls after a half and three quarters of them",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
  Option(
    "batch_size",
    "integer",
    128,
    "training images a step, over all devices",
    request.HOW_MUCH,
    science=False,
    low=1,
    high=2**20,
  ),
  Option(
    "bfloat16",
    "boolean",
    False,
    "compute layers in bfloat16 in training; parameters are float32, and so is every attack",
    request.HOW,
    science=False,
  ),
  Option(
    "adversary_steps",
    "integer",
    None,
    "--trained_with=pgd: attack steps per training step; 10, on MNIST 40",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
  Option(
    "adversary_statistics",
    "enum",
    "batch",
    "--trained_with=pgd: whether the attack sees the network as in training or as at test time",
    request.HOW,
    science=False,
    choices=_STATISTICS,
  ),
  Option(
    "noisy_adversary",
    "boolean",
    False,
    "--trained_with=pgd+or: differentiate through noise in the attack in training, too",
    request.HOW,
    science=False,
  ),
  Option(
    "seconds_between_saves",
    "float",
    60.0,
    "between two checkpoints of a training",
    request.SPEED,
    science=False,
    low=0,
  ),
)

# Of adversarial training: the CIFAR10 and MNIST challenges; digits have fewer pixels.
_ADVERSARIES = {
  "cifar10": {"radius": 8 / 255, "step_size": 2 / 255, "num_steps": 10},
  "mnist": {"radius": 0.3, "step_size": 0.01, "num_steps": 40},
  "digits": {"radius": 0.2, "step_size": 0.05, "num_steps": 10},
}
_ANY_ADVERSARY = {"radius": 8 / 255, "step_size": 2 / 255, "num_steps": 10}


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


class Training(NamedTuple):
  """How a classifier is trained, if it must be; `given` are the flags that ask for it."""

  num_epochs: int | None = None
  num_steps: int | None = None
  batch_size: int = 128
  bfloat16: bool = False
  adversary_steps: int | None = None
  adversary_statistics: str = "batch"
  noisy_adversary: bool = False
  seconds_between_saves: float = 60.0
  given: frozenset[str] = frozenset()


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


def read_training(values: request.Values) -> Training:
  """How the flags want it trained.

  Raises:
    ValueError: flags that do not go together.
  """
  if values["num_steps"] and values["num_epochs"]:
    raise ValueError("--num_steps and --num_epochs say the same: pass one of them")
  names = [option.name for option in TRAINING]
  return Training(**values.named(*names), given=values.given & set(names))


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


def adversary(asked: DataRequest, training: Training) -> dict:
  """The numbers of the attack in adversarial training."""
  numbers = _ADVERSARIES.get(asked.dataset or "", _ANY_ADVERSARY)
  return {**numbers, "num_steps": training.adversary_steps or numbers["num_steps"]}


def num_steps(recipe: Recipe, training: Training, num_examples: int) -> int:
  """Training steps: as asked for, or the published number."""
  if training.num_steps:
    return training.num_steps
  if recipe.network == "convnet" or training.num_epochs:
    return (training.num_epochs or 50) * (num_examples // training.batch_size)
  return 80_000


def meta(asked: DataRequest, recipe: Recipe, training: Training, steps: int, seed: int) -> dict:
  """Facts that identify a training, for its checkpoint."""
  facts = {
    "model": name(asked, recipe),
    "dataset": asked.name,
    "batch_size": training.batch_size,
    "seed": seed,
    **({"bfloat16": True} if training.bfloat16 else {}),
  }
  if "pgd" in recipe.trained_with:
    facts["adversary"] = {
      **adversary(asked, training),
      "statistics": training.adversary_statistics,
      "noisy": training.noisy_adversary,
    }
  # The milestones of the learning rate depend on the number of steps.
  return facts if recipe.network == "convnet" else {**facts, "scheduled_steps": steps}


def check_as_asked(folder: str, facts: dict, training: Training, num_images: int) -> None:
  """Raises ValueError if another training is asked for than the finished one in a folder.

  Args:
    folder: where it is.
    facts: about it.
    training: what is asked for.
    num_images: that an epoch has; only of interest with --num_epochs.
  """
  had = {**facts.get("adversary", {}), **facts}
  for flag, fact, default in (
    ("batch_size", "batch_size", None),
    ("bfloat16", "bfloat16", False),
    ("adversary_steps", "num_steps", None),
    ("adversary_statistics", "statistics", None),
    ("noisy_adversary", "noisy", None),
  ):
    found = (facts.get("adversary", {}) if flag == "adversary_steps" else had).get(fact, default)
    if flag in training.given and getattr(training, flag) != found:
      raise ValueError(
        f"{folder} was trained with --{flag}={found}, not {getattr(training, flag)}: leave it "
        f"out, or pass another --model_dir"
      )
  per_epoch = num_images // facts["batch_size"]
  wanted = training.num_steps or (training.num_epochs or 0) * per_epoch
  if wanted and wanted != facts["num_steps"]:
    flag = "num_steps" if training.num_steps else "num_epochs"
    raise ValueError(
      f"{folder} was trained for {facts['num_steps']} steps, not {wanted}: leave --{flag} out, "
      f"or train it on with train_classifier.py, or pass another --model_dir"
    )
