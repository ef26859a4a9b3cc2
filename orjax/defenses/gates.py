"""Noise where the classifier is unsure, and its own answer where it is not."""

import jax
import jax.numpy as jnp

from orjax.defenses.inputs import with_input_noise
from orjax.defenses.rows import check_range
from orjax.defenses.rows import check_strength
from orjax.defenses.rows import logits
from orjax.defenses.rows import noisy_logits
from orjax.defenses.rows import on_each_row
from orjax.defenses.rows import softmax
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle


def with_boundary_noise(
  oracle: Oracle, stddev: jax.Array, *, threshold: jax.Array | float = 0.3
) -> Oracle:
  """Boundary Defense: noise on the logits of answers of low confidence.

  softmax(z + stddev eps) where max p < threshold, else p; eps ~ N(0, I) is fresh in every
  answer, a row's own.

  The user gets the network's own answer wherever it is sure. Whoever comes near a boundary
  between two classes does so, too: there max p is about 1/2, so that the noise only acts
  where at least 1 / threshold classes compete, and never if there are fewer than that. An
  attacker starts inside of the wrong class, or walks along boundaries of two classes.

  Args:
    oracle: what is defended.
    stddev: of the noise on the logits, [] or [K]; may be traced.
    threshold: confidence below which noise is added; may be traced.

  Returns:
    An `Oracle`, a pure function of the key; with stddev 0 it answers exactly what `oracle`
    does.

  References:
    Aithal and Li (2022), Boundary Defense Against Black-box Adversarial Attacks: stddev 0.1
    and threshold 0.3 on ImageNet.
  """

  def gated(key, row):
    unsure = row.max(-1) < jnp.asarray(threshold, row.dtype)
    return jnp.where(unsure, noisy_logits(key, row, stddev), row)

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    return on_each_row(gated, oracle.query(inner_key, images), noise_key)

  return Oracle(query, oracle.queries_per_row)


@factory
def boundary_noise(*, threshold: float = 0.3) -> Defense:
  """Boundary Defense, swept over the stddev of its noise on the logits.

  Args:
    threshold: confidence below which noise is added, from 0 to 1.

  Returns:
    A `Defense`.

  Raises:
    ValueError: a threshold outside of [0, 1].
  """
  check_range("threshold of the confidence", threshold, 0, 1)

  def settings(stddev):
    check_strength("stddev of the logits", stddev)
    return {"stddev": float(stddev), "threshold": threshold}

  return Defense(
    "boundary_noise",
    lambda oracle, setting: with_boundary_noise(oracle, **setting),
    settings,
    axis="stddev of the logits",
    default=(0.0, 0.1, 0.3, 1.0),
  )


def with_confidence_gate(
  oracle: Oracle,
  stddev: jax.Array,
  *,
  threshold: jax.Array | float = 0.9,
  temperature: jax.Array | float = 1.0,
) -> Oracle:
  """Noise on the images for which the classifier is unsure, its own answer for the others.

  p(x) where max softmax(z / temperature) > threshold, else p(clip(x + stddev eps)), with
  eps ~ N(0, I) fresh for every row of every query, a row's own.

  The user gets the network's own answer wherever it is sure, so that much more noise is
  affordable elsewhere than with noise everywhere. The gate tells an attacker on which side
  of it he is, and the confident side, also of the wrong class, is free of noise; on the
  other side averaging and a larger step undo it as they undo `with_input_noise`.

  The server asks the network twice for every row; the attacker pays once.

  Args:
    oracle: what is defended.
    stddev: of the noise on the pixels, in units of the [0, 1] range; may be traced.
    threshold: confidence above which nothing is added: 0 is no defense, 1 is noise
      everywhere; may be traced.
    temperature: by which the confidence is calibrated; the answers are not.

  Returns:
    An `Oracle`, a pure function of the key; with stddev 0 it answers exactly what `oracle`
    does if that is not random.

  References:
    The gated defenses of arXiv 2312.10132 (code: RUB-InfSec/closing_the_gap), which sweeps
    the threshold over 0 to 1, stddevs of 0.01 to 0.1, and temperatures of 0.80 to 1.64.
  """

  def query(key, images):
    inner_key, noisy_key = jax.random.split(key)
    answers = whole(oracle.query(inner_key, images))
    noisy = whole(with_input_noise(oracle, stddev).query(noisy_key, images))
    heat, least = (jnp.asarray(number, answers.dtype) for number in (temperature, threshold))
    confidence = on_each_row(lambda row: softmax(logits(row) / heat), answers)
    return jnp.where(confidence.max(-1, keepdims=True) > least, answers, noisy)

  return Oracle(query, oracle.queries_per_row)


@factory
def confidence_gate(*, threshold: float = 0.9, temperature: float = 1.0) -> Defense:
  """Noise on the images of unsure answers, swept over its stddev.

  Args:
    threshold: confidence above which nothing is added, from 0 to 1.
    temperature: by which the confidence is calibrated, above 0.

  Returns:
    A `Defense`.

  Raises:
    ValueError: a threshold outside of [0, 1], or a temperature that is not positive.
  """
  check_range("threshold of the confidence", threshold, 0, 1)
  if not temperature > 0:
    raise ValueError(f"the temperature must be above 0, not {temperature}")

  def settings(stddev):
    check_strength("stddev of the pixels", stddev)
    return {"stddev": float(stddev), "threshold": threshold, "temperature": temperature}

  return Defense(
    "confidence_gate",
    lambda oracle, setting: with_confidence_gate(oracle, **setting),
    settings,
    axis="stddev of the pixels",
    default=(0.0, 0.01, 0.02, 0.05, 0.07, 0.08, 0.1),
  )
