"""Logits bent so that the margin's slope is reversed between attractors (AAA, linear)."""

from orjax import defenses

DEFENSE = defenses.aaa_linear
