"""The image rounded to 8 bits before it is looked at."""

from orjax import defenses

DEFENSE = defenses.uint8_input
