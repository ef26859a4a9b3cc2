"""Less of an answer: fewer digits, fewer classes, or a label alone."""

import jax
import jax.numpy as jnp

from orjax.defenses.rows import check_range
from orjax.defenses.rows import check_strength
from orjax.defenses.rows import logits
from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import one_hot
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def _altered(oracle, alter):
  return Oracle(
    lambda key, images: on_each_row(alter, oracle.query(key, images)), oracle.queries_per_row
  )


def with_rounding(oracle: Oracle, levels: jax.Array) -> Oracle:
  """Rounds every probability to a multiple of 1 / levels: round(p levels) / levels.

  10^k levels are k decimal digits. Halves go to the even side, and nothing is
  renormalised. It needs no key.

  The user sees what most services show. Where several classes round to the same top
  probability the label is the first of them, which costs accuracy at one digit.

  Rounding is as noise of stddev levels^-1 / sqrt(12), but the same noise again for the same
  image: repeats do not undo it, while averaging over jittered images and steps that change
  the answer by more than a level do.

  Args:
    oracle: what is defended.
    levels: above 0; infinity rounds nothing. May be traced.

  Returns:
    An `Oracle`, as random as `oracle` is.

  References:
    MITRE ATLAS AML.M0002, Passive ML Output Obfuscation.
  """

  def round_off(row):
    scale = whole(jnp.asarray(levels, row.dtype))  # or a division becomes a product
    return jnp.where(jnp.isinf(scale), row, jnp.round(row * scale) / scale)

  return _altered(oracle, round_off)


@factory
def rounded() -> Defense:
  """Rounded answers, swept over the decimal digits, of which few are a strong defense."""

  def settings(digits):
    check_strength("number of digits", digits)
    return {"levels": 10.0**digits}

  return Defense(
    "rounded",
    lambda oracle, setting: with_rounding(oracle, setting["levels"]),
    settings,
    axis="digits",
    default=(6.0, 4.0, 3.0, 2.0, 1.0),
  )


def with_top_k(oracle: Oracle, num_shown: jax.Array) -> Oracle:
  """Shows the most probable classes, and 0 for all others.

  Nothing is renormalised; of equal classes the first is shown. It needs no key.

  The user keeps the label and the scores that matter. An untargeted attacker who needs the
  margin between two classes loses nothing from two classes on; a targeted one starts from
  an image of the target, where it is shown. With one class the top score is left, which
  an untargeted attack can lower as well.

  Args:
    oracle: what is defended.
    num_shown: classes, at least 1; K or more hides nothing. May be traced.

  Returns:
    An `Oracle`, as random as `oracle` is.

  References:
    MITRE ATLAS AML.M0002, Passive ML Output Obfuscation.
  """

  def shown(row):
    rank = jnp.argsort(jnp.argsort(-row))  # sorted stably: the first of equals comes first
    return jnp.where(rank.astype(jnp.float32) < jnp.asarray(num_shown, jnp.float32), row, 0)

  return _altered(oracle, shown)


@factory
def top_k() -> Defense:
  """The most probable classes alone, swept over how many."""

  def settings(num_shown):
    if num_shown < 1 or num_shown != int(num_shown):
      raise ValueError(f"the number of classes shown must be 1, 2, ..., not {num_shown}")
    return {"num_shown": float(num_shown)}

  return Defense(
    "top_k",
    lambda oracle, setting: with_top_k(oracle, setting["num_shown"]),
    settings,
    axis="classes shown",
    default=(10.0, 5.0, 3.0, 2.0, 1.0),
  )


def with_label(oracle: Oracle) -> Oracle:
  """Answers the label alone, as a one-hot row: the first of equally probable classes.

  It needs no key. The user loses the confidence. Losses on scores have a gradient of 0
  almost everywhere; attacks on decisions (HopSkipJump, RayS, SurFree) need no more than
  this, and noise before the label (`with_sampled_label`) would give the scores away again.

  Args:
    oracle: what is defended.

  Returns:
    An `Oracle`, as random as `oracle` is.
  """
  return _altered(oracle, lambda row: one_hot(row.argmax(-1), row))


@factory
def label_only() -> Defense:
  """The label alone. Its only strength is 1: there is nothing to sweep or to calibrate."""

  def settings(strength):
    if strength != 1:
      raise ValueError(f"a label alone has the strength 1 only, not {strength}")
    return {}

  return Defense("label_only", lambda oracle, setting: with_label(oracle), settings, default=(1.0,))


def with_sampled_label(oracle: Oracle, inverse_temperature: jax.Array | float = 1.0) -> Oracle:
  """Answers a random label, as a one-hot row: label ~ Categorical(softmax(beta log p)).

  At beta = 1 the label c comes with probability p_c; at infinity it is the most probable
  one. It is drawn anew for every row of every query, from a key of the row's own.

  The user of an image of confidence p gets a wrong label 1 - p of the time. The mean of
  repeats is p itself: to an attacker it is access to scores, with noise of variance
  p (1 - p).

  Args:
    oracle: what is defended.
    inverse_temperature: beta, 0 or more and finite; may be traced.

  Returns:
    An `Oracle`, a pure function of the key.

  References:
    The "Bayesian" classifier of Simon-Gabriel et al. (2021), PopSkipJump, with beta = 1.
  """

  def sampled(key, row):
    scaled = jnp.asarray(inverse_temperature, row.dtype) * logits(row)
    return one_hot(jax.random.categorical(key, scaled), row)

  def query(key, images):
    inner_key, label_key = jax.random.split(key)
    return on_each_row(sampled, oracle.query(inner_key, images), label_key)

  return Oracle(query, oracle.queries_per_row)


@factory
def sampled_label() -> Defense:
  """A random label, swept over its inverse temperature, of which little is much noise."""

  def settings(inverse_temperature):
    check_range("inverse temperature", inverse_temperature, 0, 1e6)
    return {"inverse_temperature": float(inverse_temperature)}

  return Defense(
    "sampled_label",
    lambda oracle, setting: with_sampled_label(oracle, setting["inverse_temperature"]),
    settings,
    axis="inverse temperature",
    default=(10.0, 3.0, 1.0),
  )
