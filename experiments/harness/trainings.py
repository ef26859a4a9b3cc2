"""How the classifiers that orjax trains are trained, and whether one was trained so."""

from typing import Any
from typing import NamedTuple

from harness import request
from harness.request import DataRequest
from harness.request import Option

_STATISTICS = ("batch", "running")
SCHEDULES = ("published", "short")
_SHORT_BATCH, _SHORT_STEPS = 512, 5_000

# How it is trained, if it must be; the fingerprint of the trained parameters stands for them.
OPTIONS = (
  Option(
    "num_epochs",
    "integer",
    None,
    "training epochs; 50 of convnets, the recipe of the ZOO networks; where one is distilled, "
    "of the teacher and of the student",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
  Option(
    "num_steps",
    "integer",
    None,
    "training steps, instead of --num_epochs; 80,000 of the "
    "ResNets; the learning rate follows --schedule over them",
    request.HOW_MUCH,
    science=False,
    low=1,
  ),
  Option(
    "batch_size",
    "integer",
    128,
    "training images a step, over all devices; with --schedule=short 512 by default",
    request.HOW_MUCH,
    science=False,
    low=1,
    high=2**20,
  ),
  Option(
    "schedule",
    "enum",
    "published",
    "of the ResNets' learning rate: the published one, which falls twice, or one short cycle, "
    "for large batches and, by default, 5,000 steps",
    request.HOW,
    science=False,
    choices=SCHEDULES,
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


class Training(NamedTuple):
  """How a classifier is trained, if it must be; `given` are the flags that ask for it."""

  num_epochs: int | None = None
  num_steps: int | None = None
  batch_size: int = 128
  schedule: str = "published"
  bfloat16: bool = False
  adversary_steps: int | None = None
  adversary_statistics: str = "batch"
  noisy_adversary: bool = False
  seconds_between_saves: float = 60.0
  given: frozenset[str] = frozenset()


def read(values: request.Values) -> Training:
  """How the flags want it trained.

  Raises:
    ValueError: flags that do not go together.
  """
  if values["num_steps"] and values["num_epochs"]:
    raise ValueError("--num_steps and --num_epochs say the same: pass one of them")
  if values["schedule"] == "short" and values["network"] == "convnet":
    raise ValueError("--schedule=short is of ResNets: leave it out, or pass --network=resnet32")
  names = [option.name for option in OPTIONS]
  asked = Training(**values.named(*names), given=values.given & set(names))
  if asked.schedule == "short" and "batch_size" not in asked.given:
    return asked._replace(batch_size=_SHORT_BATCH)
  return asked


def adversary(asked: DataRequest, training: Training) -> dict:
  """The numbers of the attack in adversarial training."""
  numbers = _ADVERSARIES.get(asked.dataset or "", _ANY_ADVERSARY)
  return {**numbers, "num_steps": training.adversary_steps or numbers["num_steps"]}


def num_steps(network: str, training: Training, num_examples: int) -> int:
  """Training steps: as asked for, or the published number."""
  if training.num_steps:
    return training.num_steps
  if network == "convnet" or training.num_epochs:
    return (training.num_epochs or 50) * (num_examples // training.batch_size)
  return _SHORT_STEPS if training.schedule == "short" else 80_000


def difference(facts: dict, training: Training, num_images: int) -> tuple[str, Any, Any] | None:
  """Where another training is asked for than a finished one: flag, what it had, what is asked.

  Args:
    facts: about it.
    training: what is asked for.
    num_images: that an epoch has; only of interest with --num_epochs.
  """
  had = {**facts.get("adversary", {}), **facts}
  for flag, fact, default in (
    ("batch_size", "batch_size", None),
    ("schedule", "schedule", "published"),
    ("bfloat16", "bfloat16", False),
    ("adversary_steps", "num_steps", None),
    ("adversary_statistics", "statistics", None),
    ("noisy_adversary", "noisy", None),
  ):
    found = (facts.get("adversary", {}) if flag == "adversary_steps" else had).get(fact, default)
    if flag in training.given and getattr(training, flag) != found:
      return flag, found, getattr(training, flag)
  per_epoch = num_images // facts["batch_size"]
  wanted = training.num_steps or (training.num_epochs or 0) * per_epoch
  if wanted and wanted != facts["num_steps"]:
    return "num_steps" if training.num_steps else "num_epochs", facts["num_steps"], wanted
  return None


def check_as_asked(folder: str, facts: dict, training: Training, num_images: int) -> None:
  """Raises ValueError if another training is asked for than the finished one in a folder.

  Args:
    folder: where it is.
    facts: about it.
    training: what is asked for.
    num_images: that an epoch has; only of interest with --num_epochs.
  """
  differs = difference(facts, training, num_images)
  if differs is None:
    return
  flag, had, asked = differs
  if flag in ("num_steps", "num_epochs"):
    raise ValueError(
      f"{folder} was trained for {had} steps, not {asked}: leave --{flag} out, "
      f"or train it on with train_classifier.py, or pass another --model_dir"
    )
  raise ValueError(
    f"{folder} was trained with --{flag}={had}, not {asked}: leave it "
    f"out, or pass another --model_dir"
  )
