"""An oracle that answers with the pixels of its images: every answer a test may want."""

import numpy as np

from orjax import oracles


def echo(images):
  """The pixels of images [B, ...] as answers [B, K]."""
  return images.reshape(len(images), -1)


def echo_oracle():
  """`echo` as an oracle: the answers are the probabilities that `as_images` is given."""
  return oracles.from_predict(echo)


def as_images(probs):
  """Images [B, 1, K, 1] that are answered by `probs` [B, K]."""
  return np.asarray(probs, np.float32)[:, None, :, None]


def answers_for(seed, num_rows, num_classes, spread=2.0):
  """Random answers [B, K], float32: softmax of logits of a stddev of `spread`."""
  logits = spread * np.random.default_rng(seed).normal(size=(num_rows, num_classes))
  exponents = np.exp(logits - logits.max(-1, keepdims=True))
  return (exponents / exponents.sum(-1, keepdims=True)).astype(np.float32)


def centred(logs):
  """Logits [B, K] up to their shift, in float64: differences from the row's mean."""
  logs = np.asarray(logs, np.float64)
  return logs - logs.mean(-1, keepdims=True)
