"""What a classifier makes of whole data sets: classes and accuracy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from orjax import datasets
from orjax import host
from orjax.precision import full_precision
from orjax.types import Key


def class_predictor(
  query: Callable, batch_size: int = 512
) -> Callable[[Any, Key, np.ndarray], np.ndarray]:
  """`predict_classes` of a query, compiled once for all its calls.

  Args:
    query: `query(variables, key, images float32 [B, H, W, C]) -> answers [B, K]`.
    batch_size: rows per call; the last batch is padded so that one program serves all.

  Returns:
    `predict(variables, key, images)`, as `predict_classes` without its query.
  """

  @host.staged
  def classes(variables, key, images):
    with full_precision():
      rows = query(variables, key, images)
    return rows.argmax(-1), jnp.isfinite(rows).all(-1)

  def predict(variables, key, images):
    size = min(batch_size, len(images))
    predictions = []
    for number, start in enumerate(range(0, len(images), size)):
      batch = datasets.to_float(images[start : start + size])
      padding = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
      found, finite = jax.device_get(
        classes(
          variables,
          jax.random.fold_in(key, number),
          np.concatenate([batch, padding]),
          wanted=np.arange(size) < len(batch),
        )
      )
      if not finite[: len(batch)].all():
        raise FloatingPointError(
          "the model answers NaN or infinity on clean images: its robustness cannot be "
          "measured; retrain it or check its weights"
        )
      predictions.append(found[: len(batch)])
    return np.concatenate(predictions)

  return predict


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
  return class_predictor(query, batch_size)(variables, key, images)


def accuracy(apply: Callable, variables: Any, dataset: datasets.Dataset) -> float:
  """Share of the data set that the model classifies correctly.

  `apply(variables, key, images) -> logits`; the key drives whatever is random at test time.
  """
  classes = predict_classes(apply, variables, jax.random.key(0), dataset.images)
  return float(np.mean(classes == dataset.labels))
