"""The verdict on what an attack handed in; all that asks the clean model about it."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import datasets
from orjax import host
from orjax import oracles
from orjax.types import Example
from orjax.types import Key
from orjax.types import Objective
from orjax.types import Oracle


class Verdict(NamedTuple):
  """Beside what the attack claimed.

  Attributes:
    clean_success: the undefended model is fooled by the adversarial image, bool [].
    defended_success_rate: share of fresh answers of the defended model that are, [].
    noise_error_rate: the same share for the clean image: the false-alarm base line, [].
    finite: the undefended model answers numbers for both images, bool [].
  """

  clean_success: jax.Array
  defended_success_rate: jax.Array
  noise_error_rate: jax.Array
  finite: jax.Array


def verify(
  key: Key,
  clean: Oracle,
  defended: Oracle,
  objective: Objective,
  example: Example,
  adversarial: jax.Array,
  num_draws: int,
) -> Verdict:
  """Judges one adversarial image.

  Args:
    key: consumed.
    clean: the undefended model.
    defended: the server, without anything that an attacker does.
    objective: whose `achieved` is the test: not the label, or the target.
    example: what was attacked.
    adversarial: what was handed in [H, W, C].
    num_draws: fresh answers per image.

  Returns:
    A `Verdict`.
  """
  with oracles.full_precision():
    images = jnp.stack([adversarial, example.image])
    # The undefended model may be random, too: noise inside it.
    rows = clean.query(jax.random.fold_in(key, num_draws), images)
    draws = jax.vmap(defended.query, in_axes=(0, None))(jax.random.split(key, num_draws), images)
  achieved = jax.vmap(objective.achieved, in_axes=(0, None))
  rates = jax.vmap(achieved, in_axes=(0, None))(draws, example.label).mean(0)
  return Verdict(achieved(rows, example.label)[0], rates[0], rates[1], jnp.isfinite(rows).all())


def predict_classes(
  query: Callable, variables: Any, key: Key, images: np.ndarray, batch_size: int = 512
) -> np.ndarray:
  """Predicted classes int [N], one answer per image.

  Args:
    query: `query(variables, key, images float32 [B, H, W, C]) -> answers [B, K]`.
    variables: the model's parameters.
    key: consumed; batch i is asked with `fold_in(key, i)`.
    images: uint8 [N, H, W, C].
    batch_size: rows per call; the last batch is padded so that one program serves all.

  Returns:
    The class of the largest answer.

  Raises:
    FloatingPointError: an answer is not finite.
  """

  @host.staged
  def classes(variables, key, images):
    with oracles.full_precision():
      rows = query(variables, key, images)
    return rows.argmax(-1), jnp.isfinite(rows).all(-1)

  batch_size = min(batch_size, len(images))
  predictions = []
  for number, start in enumerate(range(0, len(images), batch_size)):
    batch = datasets.to_float(images[start : start + batch_size])
    padding = np.zeros((batch_size - len(batch), *batch.shape[1:]), batch.dtype)
    found, finite = jax.device_get(
      classes(
        variables,
        jax.random.fold_in(key, number),
        np.concatenate([batch, padding]),
        wanted=np.arange(batch_size) < len(batch),
      )
    )
    if not finite[: len(batch)].all():
      raise FloatingPointError(
        "the model answers NaN or infinity on clean images: its robustness cannot be "
        "measured; retrain it or check its weights"
      )
    predictions.append(found[: len(batch)])
  return np.concatenate(predictions)
