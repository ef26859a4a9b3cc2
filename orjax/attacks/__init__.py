"""Attacks: pairs of pure functions that see an oracle and an example, nothing else."""

from orjax.attacks.wrappers import binary_search
from orjax.attacks.wrappers import keep_best
from orjax.attacks.wrappers import patience
from orjax.attacks.zoo import adam
from orjax.attacks.zoo import coordinate_descent
from orjax.attacks.zoo import zoo

__all__ = ["adam", "binary_search", "coordinate_descent", "keep_best", "patience", "zoo"]
