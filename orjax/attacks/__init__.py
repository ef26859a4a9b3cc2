"""Attacks: pairs of pure functions that see an oracle and an example, nothing else."""

from orjax.attacks.carlini_wagner import carlini_wagner
from orjax.attacks.carlini_wagner import descent
from orjax.attacks.starts import low_frequency_noise
from orjax.attacks.wrappers import binary_search
from orjax.attacks.wrappers import confirmed
from orjax.attacks.wrappers import keep_best
from orjax.attacks.wrappers import patience
from orjax.attacks.wrappers import until_outside
from orjax.attacks.zoo import adam
from orjax.attacks.zoo import adam_newton
from orjax.attacks.zoo import coordinate_descent
from orjax.attacks.zoo import newton
from orjax.attacks.zoo import zoo

__all__ = [
    "adam", "adam_newton", "binary_search", "carlini_wagner", "confirmed",
    "coordinate_descent", "descent", "keep_best", "low_frequency_noise", "newton",
    "patience", "until_outside", "zoo"]
