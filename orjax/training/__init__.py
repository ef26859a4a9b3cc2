"""Training of classifiers: one step, and the loop around it."""

from orjax.training.adversary import pgd_adversary
from orjax.training.adversary import STATISTICS
from orjax.training.augmentation import crop_and_flip
from orjax.training.augmentation import gaussian_noise
from orjax.training.distillation import distill
from orjax.training.distillation import FIRST_EPOCH
from orjax.training.distillation import soft_labels
from orjax.training.distillation import TEACHER
from orjax.training.fit import batches
from orjax.training.fit import check
from orjax.training.fit import fit
from orjax.training.fit import METRICS
from orjax.training.fit import Stopped
from orjax.training.optimizers import madry_optimizer
from orjax.training.optimizers import one_cycle_optimizer
from orjax.training.optimizers import zoo_optimizer
from orjax.training.step import Adversary
from orjax.training.step import Trainer
from orjax.training.step import trainer
from orjax.training.step import TrainState

__all__ = [
  "FIRST_EPOCH",
  "METRICS",
  "STATISTICS",
  "TEACHER",
  "Adversary",
  "Stopped",
  "TrainState",
  "Trainer",
  "batches",
  "check",
  "crop_and_flip",
  "distill",
  "fit",
  "gaussian_noise",
  "madry_optimizer",
  "one_cycle_optimizer",
  "pgd_adversary",
  "soft_labels",
  "trainer",
  "zoo_optimizer",
]
