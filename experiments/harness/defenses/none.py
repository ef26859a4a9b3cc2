"""Nothing is added at test time."""

from orjax import defenses

DEFENSE = defenses.no_defense
