"""How a classifier is trained: flags, and the recipe of each network."""

import math
from typing import NamedTuple

from absl import flags
import jax.numpy as jnp

from orjax import models
from orjax import trainers
from orjax.models import layers

NETWORKS = ("convnet", "resnet32", "wide_resnet32_10")
DEFENSES = ("none", "or", "pgd", "pgd+or")

NETWORK = flags.DEFINE_enum(
  "network",
  "convnet",
  NETWORKS,
  "Network: ZOO's of the data set, or, of CIFAR10, ResNet-32 or the wide one of Madry et al.",
)
DEFENSE = flags.DEFINE_enum(
  "defense",
  "none",
  DEFENSES,
  "What it is trained with: output randomization (or), adversarial examples (pgd), or both.",
)
STDDEV = flags.DEFINE_float(
  "stddev", 100.0, "Of the noise in training, with --defense=or and pgd+or."
)
NOISE_LOCATION = flags.DEFINE_enum(
  "noise_location",
  "logits",
  ("logits", *layers.LOCATIONS),
  "Where that noise is added: to "
  "the logits, or, at test time too, after convolutions: every one, or the first or the "
  "second of each block.",
)
TEST_NOISE = flags.DEFINE_bool(
  "test_noise", True, "Whether noise after convolutions is on at test time."
)

NUM_EPOCHS = flags.DEFINE_integer(
  "num_epochs",
  None,
  "Training epochs, if the classifier must be trained (default: 50 of "
  "convnets, the recipe of the ZOO networks).",
  lower_bound=1,
)
NUM_STEPS = flags.DEFINE_integer(
  "num_steps",
  None,
  "Training steps, instead of --num_epochs (default: 80,000 of the "
  "ResNets); the learning rate falls after a half and three quarters of them.",
)
BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 128, "Training images a step, over all devices.", lower_bound=1
)
BFLOAT16 = flags.DEFINE_bool(
  "bfloat16",
  False,
  "Whether layers compute in bfloat16 in training; parameters are float32, and so is every attack.",
)
ADVERSARY_STEPS = flags.DEFINE_integer(
  "adversary_steps", None, "--defense=pgd: attack steps per training step (default: 10; MNIST: 40)."
)
ADVERSARY_STATISTICS = flags.DEFINE_enum(
  "adversary_statistics",
  "batch",
  trainers.STATISTICS,
  "--defense=pgd: whether the attack sees the network as in training or as at test time.",
)
NOISY_ADVERSARY = flags.DEFINE_bool(
  "noisy_adversary",
  False,
  "--defense=pgd+or: whether the attack in training differentiates through noise, too.",
)
SECONDS_BETWEEN_SAVES = flags.DEFINE_float(
  "seconds_between_saves",
  60.0,
  "Speed only: between two checkpoints of a training.",
  lower_bound=0.0,
)

# Flags that say which classifier is meant.
DESCRIBING = (NETWORK, DEFENSE, STDDEV, NOISE_LOCATION, TEST_NOISE)
# Flags that say how it is trained, if it must be.
TRAINING = (
  NUM_EPOCHS,
  NUM_STEPS,
  BATCH_SIZE,
  BFLOAT16,
  ADVERSARY_STEPS,
  ADVERSARY_STATISTICS,
  NOISY_ADVERSARY,
  SECONDS_BETWEEN_SAVES,
)
# The fingerprint of the trained parameters stands for them.
FREE_FLAGS = frozenset(flag.name for flag in TRAINING)

# Of adversarial training: the CIFAR10 and MNIST challenges; digits have fewer pixels.
ADVERSARIES = {
  "cifar10": {"radius": 8 / 255, "step_size": 2 / 255, "num_steps": 10},
  "mnist": {"radius": 0.3, "step_size": 0.01, "num_steps": 40},
  "digits": {"radius": 0.2, "step_size": 0.05, "num_steps": 10},
}
# Of convnets trained with noise: see `trainers.zoo_optimizer`.
_MAX_GRADIENT_NORM = 10.0


class Recipe(NamedTuple):
  """What makes two classifiers of one data set differ: network, defense, noise.

  A `substitute` is an attacker's own: trained from another seed.
  """

  network: str = "convnet"
  defense: str = "none"
  stddev: float = 0.0
  location: str = "logits"
  substitute: bool = False

  @property
  def inside(self) -> str | None:
    """Where noise is added inside the network; None for nowhere."""
    return None if self.location == "logits" or not self.stddev else self.location


def substitute(recipe: Recipe, stddev: float) -> Recipe:
  """The same network, trained by an attacker with noise on its logits; 0: without."""
  plain = Recipe(recipe.network, "or", stddev) if stddev else Recipe(recipe.network)
  return plain._replace(substitute=True)


def from_flags() -> Recipe:
  """The recipe that the flags describe.

  Raises:
    ValueError: flags that do not go together.
  """
  for flag in (NUM_STEPS, ADVERSARY_STEPS):
    if flag.value is not None and flag.value < 1:
      raise ValueError(f"--{flag.name}={flag.value} must be at least 1")
  if NUM_STEPS.value and NUM_EPOCHS.value:
    raise ValueError("--num_steps and --num_epochs say the same: pass one of them")
  if not 0 <= STDDEV.value < math.inf:
    raise ValueError(f"--stddev={STDDEV.value:g} is no standard deviation: pass 0 or more")
  noisy, adversarial = "or" in DEFENSE.value.split("+"), "pgd" in DEFENSE.value
  for flag, needed, defense in (
    (STDDEV, noisy, "or"),
    (NOISE_LOCATION, noisy, "or"),
    (TEST_NOISE, noisy, "or"),
    (NOISY_ADVERSARY, noisy and adversarial, "pgd+or"),
    (ADVERSARY_STEPS, adversarial, "pgd"),
    (ADVERSARY_STATISTICS, adversarial, "pgd"),
  ):
    if flag.present and not needed:
      raise ValueError(f"--{flag.name} needs --defense={defense}: leave it out")
  if not noisy:
    return Recipe(NETWORK.value, DEFENSE.value)
  return Recipe(NETWORK.value, DEFENSE.value, STDDEV.value, NOISE_LOCATION.value)


def name(dataset: str, recipe: Recipe) -> str:
  """Of the classifier: its folder, and in the records."""
  own = "-substitute" if recipe.substitute else ""
  plain = network(dataset, recipe)
  if recipe.defense == "none":
    return plain + own
  noise = f"{recipe.stddev:g}" if "or" in recipe.defense.split("+") else ""
  place = "" if recipe.location == "logits" else f"-{recipe.location}"
  return f"{plain}-{recipe.defense}{noise}{place}{own}"


def network(dataset: str, recipe: Recipe) -> str:
  """Of the network, for `models.build`."""
  if dataset == "imagenet2012":
    raise ValueError(
      "orjax trains no ImageNet network: pass yours with "
      "--model=path/to/file.py:factory, or torchvision's weights with "
      "--model=resnet50 --weights=FILE"
    )
  found = f"{recipe.network}_{dataset}"
  if found not in models.names():
    raise ValueError(f"orjax trains no {recipe.network} for {dataset}: pass --network=convnet")
  return found


def num_steps(recipe: Recipe, num_examples: int) -> int:
  """Training steps: from the flags, or the published number."""
  if NUM_STEPS.value:
    return NUM_STEPS.value
  if recipe.network == "convnet" or NUM_EPOCHS.value:
    return (NUM_EPOCHS.value or 50) * (num_examples // BATCH_SIZE.value)
  return 80_000


def classifier(dataset: str, recipe: Recipe, dtype=jnp.float32) -> models.Classifier:
  """The network of a recipe, with the noise inside it."""
  return models.build(
    network(dataset, recipe),
    dtype=dtype,
    noise_location=recipe.inside,
    noise_stddev=recipe.stddev if recipe.inside else 0.0,
  )


def _adversary(dataset):
  numbers = ADVERSARIES[dataset]
  return {**numbers, "num_steps": ADVERSARY_STEPS.value or numbers["num_steps"]}


def trainer(dataset: str, recipe: Recipe, steps: int) -> trainers.Trainer:
  """The training step of a recipe."""
  on_logits = 0.0 if recipe.inside else recipe.stddev
  adversary = None
  if "pgd" in recipe.defense:
    adversary = trainers.pgd_adversary(
      **_adversary(dataset),
      statistics=ADVERSARY_STATISTICS.value,
      stddev=on_logits if NOISY_ADVERSARY.value else 0.0,
    )
  convnet = recipe.network == "convnet"
  optimizer = (
    trainers.zoo_optimizer(_MAX_GRADIENT_NORM if recipe.stddev else None)
    if convnet
    else trainers.madry_optimizer(steps)
  )
  return trainers.trainer(
    classifier(dataset, recipe, jnp.bfloat16 if BFLOAT16.value else jnp.float32),
    optimizer,
    logit_stddev=on_logits,
    adversary=adversary,
    augment=None if convnet else trainers.crop_and_flip,
  )


def meta(dataset: str, recipe: Recipe, steps: int, seed: int) -> dict:
  """Facts that identify a training, for its checkpoint."""
  facts = {
    "model": name(dataset, recipe),
    "dataset": dataset,
    "batch_size": BATCH_SIZE.value,
    "seed": seed,
    **({"bfloat16": True} if BFLOAT16.value else {}),
  }
  if "pgd" in recipe.defense:
    facts |= {
      "adversary": {
        **_adversary(dataset),
        "statistics": ADVERSARY_STATISTICS.value,
        "noisy": NOISY_ADVERSARY.value,
      }
    }
  # The milestones of the learning rate depend on the number of steps.
  return facts if recipe.network == "convnet" else {**facts, "scheduled_steps": steps}


def check_as_asked(folder: str, facts: dict, num_images: int) -> None:
  """Raises ValueError if flags ask for another training than the finished one in a folder.

  Args:
    folder: where it is.
    facts: about it.
    num_images: that an epoch has; only of interest with --num_epochs.
  """
  adversary = facts.get("adversary", {})
  for flag, had in (
    (BATCH_SIZE, facts["batch_size"]),
    (BFLOAT16, facts.get("bfloat16", False)),
    (ADVERSARY_STEPS, adversary.get("num_steps")),
    (ADVERSARY_STATISTICS, adversary.get("statistics")),
    (NOISY_ADVERSARY, adversary.get("noisy")),
  ):
    if flag.present and flag.value != had:
      raise ValueError(
        f"{folder} was trained with --{flag.name}={had}, not {flag.value}: "
        f"leave it out, or pass another --model_dir"
      )
  per_epoch = num_images // facts["batch_size"]
  asked = NUM_STEPS.value or (NUM_EPOCHS.value or 0) * per_epoch
  if asked and asked != facts["num_steps"]:
    flag = NUM_STEPS.name if NUM_STEPS.value else NUM_EPOCHS.name
    raise ValueError(
      f"{folder} was trained for {facts['num_steps']} steps, not {asked}: leave "
      f"--{flag} out, or train it on with train_classifier.py, or pass another "
      f"--model_dir"
    )
