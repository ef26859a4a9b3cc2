"""How much does randomizing a classifier's output really protect it?

`attack_one` and `attack_batch` are the calls for research code; compose what they take
from `orjax.attacks`, `orjax.objectives` and `orjax.oracles`.
"""

import importlib

__all__ = ["attack_batch", "attack_one"]


def __getattr__(name):
  # Loaded on first use, so that `orjax.records` and plots need no JAX.
  if name in __all__:
    return getattr(importlib.import_module("orjax.trials"), name)
  raise AttributeError(f"module 'orjax' has no attribute {name!r}")
