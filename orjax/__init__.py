"""How much does randomizing a classifier's output really protect it?

`evaluate`, `attack_batch` and `attack_one` are the calls for research code; compose what
they take from `orjax.attacks`, `orjax.objectives`, `orjax.oracles` and `orjax.defenses`.
"""

import importlib

__version__ = "0.1.0"

_CALLS = ("Interrupted", "attack_batch", "attack_one", "evaluate")
_MODULES = (
  "attacks",
  "border",
  "checkpoints",
  "closed",
  "compiled",
  "datasets",
  "defenses",
  "engine",
  "estimators",
  "evaluation",
  "factories",
  "files",
  "geometry",
  "host",
  "models",
  "networks",
  "objectives",
  "oracles",
  "precision",
  "progress",
  "records",
  "runner",
  "theory",
  "threats",
  "training",
  "types",
  "verification",
)
__all__ = [*_CALLS, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name):
  # Loaded on first use, so that `orjax.records` and plots need no JAX.
  if name in _CALLS:
    return getattr(importlib.import_module("orjax.closed"), name)
  if name in _MODULES:
    return importlib.import_module(f"orjax.{name}")
  raise AttributeError(f"module 'orjax' has no attribute {name!r}")


def __dir__():
  return sorted({*globals(), *__all__})
