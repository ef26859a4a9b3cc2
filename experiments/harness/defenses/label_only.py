"""The top class alone."""

from orjax import defenses

DEFENSE = defenses.label_only
