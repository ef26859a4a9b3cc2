"""Attacks made of attacks."""

from orjax.attacks.wrappers.blocks import in_blocks
from orjax.attacks.wrappers.choices import Choice
from orjax.attacks.wrappers.confirmation import confirmed
from orjax.attacks.wrappers.informed import informed
from orjax.attacks.wrappers.keep_best import keep_best
from orjax.attacks.wrappers.patience import patience
from orjax.attacks.wrappers.pilot import Pilot
from orjax.attacks.wrappers.rounds import in_rounds
from orjax.attacks.wrappers.rounds import until_outside
from orjax.attacks.wrappers.rounds import until_success
from orjax.attacks.wrappers.search import binary_search
from orjax.attacks.wrappers.search import smallest
from orjax.attacks.wrappers.within import within

__all__ = [
  "Choice",
  "Pilot",
  "binary_search",
  "confirmed",
  "in_blocks",
  "in_rounds",
  "informed",
  "keep_best",
  "patience",
  "smallest",
  "until_outside",
  "until_success",
  "within",
]
