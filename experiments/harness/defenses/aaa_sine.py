"""Logits bent so that the margin's slope is that of a sine (AAA, sine)."""

from orjax import defenses

DEFENSE = defenses.aaa_sine
