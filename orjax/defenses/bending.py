"""Answers bent without randomness: the slope an attacker sees is not the classifier's."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

from orjax.defenses.inputs import with_uint8
from orjax.defenses.rows import check_strength
from orjax.defenses.rows import elementwise
from orjax.defenses.rows import keep_label
from orjax.defenses.rows import logits
from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import softmax
from orjax.defenses.rows import total
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def with_reverse_sigmoid(
  oracle: Oracle, beta: jax.Array, *, gamma: jax.Array | float = 0.1
) -> Oracle:
  """Bends every probability by a reverse sigmoid, against the theft of a model.

  y_i = p_i - beta (sigmoid(gamma logit p_i) - 1/2), then y / sum y. It needs no key.

  The user's scores are drawn towards each other, and the label may change: near 0 and 1 the
  curve falls as p rises, so that with many classes and little confidence a rival may lead.
  At beta = gamma = 1, where the published code starts, sigmoid(logit p) = p, and every answer
  is 1/K for every class: nothing is left. Whoever knows beta and gamma inverts the curve
  class by class, with one unknown, the sum.

  Args:
    oracle: what is defended.
    beta: how much is bent; may be traced.
    gamma: how evenly, above 0; may be traced.

  Returns:
    An `Oracle`, as random as `oracle` is; with beta 0 it answers exactly what `oracle` does.

  References:
    Lee et al. (2018), Defending Against Machine Learning Model Stealing Attacks Using
    Deceptive Perturbations; code of Orekondy et al. (2020), Prediction Poisoning, with
    gamma 1; Adversarial Robustness Toolbox, ReverseSigmoid, with gamma 0.1.
  """

  def bend(row):
    strength, width = (jnp.asarray(number, row.dtype) for number in (beta, gamma))
    curve = elementwise(jax.nn.sigmoid, width * (logits(row) - logits(1 - row)))
    bent = row - whole(strength * (curve - 0.5))
    return jnp.where(strength == 0, row, bent / total(bent))

  return Oracle(
    lambda key, images: on_each_row(bend, oracle.query(key, images)), oracle.queries_per_row
  )


@factory
def reverse_sigmoid(*, gamma: float = 0.1) -> Defense:
  """The reverse sigmoid, swept over beta.

  Args:
    gamma: as in `with_reverse_sigmoid`.

  Returns:
    A `Defense`.

  Raises:
    ValueError: a gamma that is not positive.
  """
  if not gamma > 0:
    raise ValueError(f"gamma must be above 0, not {gamma}")

  def settings(beta):
    check_strength("beta of the reverse sigmoid", beta)
    return {"beta": float(beta), "gamma": gamma}

  return Defense(
    "reverse_sigmoid",
    lambda oracle, setting: with_reverse_sigmoid(oracle, **setting),
    settings,
    axis="beta",
    default=(0.0, 0.25, 0.5, 1.0),
  )


_NUM_STEPS = 100  # of Adam


def _adam(gradient, start, learning_rate):
  """Where Adam, with the numbers of its paper, comes from `start` [K].

  Products are kept apart from sums: merged or not, as the compiler likes, they round
  differently, and a hundred steps of signs would make that a different answer.
  """

  def step(i, carry):
    z, mean, square = carry
    slope, count = gradient(z), (i + 1).astype(start.dtype)
    kept, new = whole((0.9 * mean, 0.1 * slope))
    kept_square, new_square = whole((0.999 * square, 0.001 * jnp.square(slope)))
    correction, square_correction = whole((1 - 0.9**count, 1 - 0.999**count))
    mean, square = kept + new, kept_square + new_square
    # 1e-30 lets whoever differentiates this find 0, not NaN, where no slope was yet.
    size = jnp.sqrt(whole(square / square_correction) + 1e-30) + 1e-8
    move = whole(learning_rate * mean) / correction / whole(size)
    return whole((z - whole(move), mean, square))

  zero = jnp.zeros_like(start)
  return jax.lax.fori_loop(0, _NUM_STEPS, step, (start, zero, zero))[0]


def _attacked(row, choose_target, interval, learning_rate, weight, temperature):
  """Adversarial Attack on Attackers, on one answer [K]."""
  start = whole(logits(row))
  is_class = lambda number: jnp.arange(row.shape[-1]) == number
  top = start.argmax(-1)
  confidence = whole(softmax(start / temperature))[top]

  def lead(z):
    first = is_class(z.argmax(-1))
    others = jnp.where(first, -jnp.inf, z)
    return z.max(-1) - others.max(-1), first, is_class(others.argmax(-1))

  margin = whole(lead(start)[0])
  width = jnp.where(interval > 0, interval, 1)
  attractor = whole((jnp.round(margin / width + 0.5) - 0.5) * width)
  target = whole(choose_target(margin, attractor, width))

  def gradient(z):
    margin, first, second = lead(z)
    probs = whole(softmax(z))
    up = jnp.where(first, 1, jnp.where(second, -1, 0)).astype(z.dtype)
    sharper = whole(probs[top] * whole(is_class(top).astype(z.dtype) - probs))
    miscalibrated = weight * jnp.sign(probs[top] - confidence) * sharper
    return whole(jnp.sign(margin - target) * up) + whole(miscalibrated)

  z = _adam(gradient, start, learning_rate)
  leader = z.argmax(-1)  # another one where the target is near 0: the two change places
  z = z.at[top].set(z[leader]).at[leader].set(z[top])
  return jnp.where(interval > 0, keep_label(row, softmax(z)), row)


def _with_aaa(oracle, choose_target, interval, **numbers):
  def attack(row):
    cast = {name: jnp.asarray(number, row.dtype) for name, number in numbers.items()}
    return _attacked(row, choose_target, jnp.asarray(interval, row.dtype), **cast)

  return Oracle(
    lambda key, images: on_each_row(attack, oracle.query(key, images)), oracle.queries_per_row
  )


def with_aaa_linear(
  oracle: Oracle,
  interval: jax.Array | float = 6.0,
  *,
  weight: jax.Array | float = 5.0,
  temperature: jax.Array | float = 1.0,
  learning_rate: jax.Array | float = 0.1,
) -> Oracle:
  """Adversarial Attack on Attackers: the margin falls where the classifier's rises.

  With m = z_1 - z_2, the lead of the top logit, and its attractor a = (round(m / T + 1/2) -
  1/2) T, T the interval, the answer is the softmax of logits found by 100 steps of Adam from z
  = log p on |m(z) - (2 a - m)| + weight |p_top(z) - p_top(z_0 / temperature)|: between two
  attractors' borders the margin runs backwards, while the confidence stays. It needs no
  key; every row is worked out by itself.

  The user keeps every label (where the last step left another class in front, which happens
  where the target is near 0, the two change places: the published code leaves that), and
  his confidence as far as the margin lets him: p_top is at most 1 / (1 + e^-m), and with K
  classes at least 1 / (1 + (K - 1) e^-m). Where the two cannot both be had the answer is in
  between; with two classes one *is* the other, and the margin only moves where p (1 - p) is
  below 1 / weight.

  What undoes it: the defense is deterministic and its labels are the classifier's, so that
  attacks on decisions are untouched; a step that crosses a border sees the true trend; and
  whoever turns his direction round after some failures is drawn the right way.

  Args:
    oracle: what is defended. The published defense also floors images to 8 bits: give
      `with_uint8(oracle, rounding="floor")` for that.
    interval: T, period of the margin; with 0 the oracle answers exactly what `oracle` does.
      The published command line has 6, the published class 4. May be traced.
    weight: of the confidence; may be traced.
    temperature: that calibrates the confidence; may be traced.
    learning_rate: of Adam; may be traced.

  Returns:
    An `Oracle`, as random as `oracle` is.

  References:
    Chen et al. (2022), Adversarial Attack on Attackers: Post-Process to Mitigate Black-Box
    Score-Based Query Attacks. Dashtbani et al. (2026), Random Logit Scaling, for the attack
    that turns round.
  """
  return _with_aaa(
    oracle,
    lambda margin, attractor, interval: 2 * attractor - margin,
    interval,
    learning_rate=learning_rate,
    weight=weight,
    temperature=temperature,
  )


def with_aaa_sine(
  oracle: Oracle,
  interval: jax.Array | float = 6.0,
  *,
  weight: jax.Array | float = 5.0,
  temperature: jax.Array | float = 1.0,
  learning_rate: jax.Array | float = 0.1,
) -> Oracle:
  """As `with_aaa_linear`, with a margin that waves about the classifier's own.

  The target is m - 0.7 T sin(pi (1 - 2 (m - a) / T)): it is continuous in m, and falls with
  it about the attractors only.

  Args:
    oracle: as in `with_aaa_linear`, and so are the others.
    interval: T.
    weight: of the confidence.
    temperature: that calibrates the confidence.
    learning_rate: of Adam.

  Returns:
    An `Oracle`, as random as `oracle` is.

  References:
    As of `with_aaa_linear`.
  """

  def choose_target(margin, attractor, interval):
    phase = math.pi * (1 - 2 * (margin - attractor) / interval)
    return margin - whole(0.7 * interval * elementwise(jnp.sin, phase[None])[0])

  return _with_aaa(
    oracle,
    choose_target,
    interval,
    learning_rate=learning_rate,
    weight=weight,
    temperature=temperature,
  )


def _aaa(name, with_aaa: Callable, weight, temperature, uint8):
  def settings(interval):
    check_strength("interval of the attractors", interval)
    return {"interval": float(interval), "weight": weight, "temperature": temperature}

  def wrap(oracle, setting):
    seen = with_uint8(oracle, rounding="floor") if uint8 else oracle
    return with_aaa(seen, **setting)

  return Defense(name, wrap, settings, axis="interval of the margin", default=(0.0, 4.0, 6.0))


@factory
def aaa_linear(*, weight: float = 5.0, temperature: float = 1.0, uint8: bool = False) -> Defense:
  """Adversarial Attack on Attackers, linear, swept over the interval of its attractors.

  Args:
    weight: as in `with_aaa_linear`.
    temperature: as in `with_aaa_linear`.
    uint8: floors images to 8 bits first, as the published code does. That alone stops an
      attack whose steps are below 1 / 255, so that it is a defense of its own here.

  Returns:
    A `Defense`.
  """
  return _aaa("aaa_linear", with_aaa_linear, weight, temperature, uint8)


@factory
def aaa_sine(*, weight: float = 5.0, temperature: float = 1.0, uint8: bool = False) -> Defense:
  """Adversarial Attack on Attackers, sine; the arguments are those of `aaa_linear`."""
  return _aaa("aaa_sine", with_aaa_sine, weight, temperature, uint8)
