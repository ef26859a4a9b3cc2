"""A model outside JAX: any callable that answers a batch, asked with patience and counted."""

from collections.abc import Callable
import http.client
import logging
import time
import urllib.error

import numpy as np

_LOG = logging.getLogger("orjax")


def _may_pass(error):
  """Whether an error may be gone when the same is asked again."""
  if isinstance(error, urllib.error.HTTPError):
    return error.code >= 500 or error.code in (408, 429)
  return not isinstance(error, (FileNotFoundError, PermissionError))


class Endpoint:
  """A Python callable that answers a batch of rows, with retries and a count.

  Attributes:
    num_rows: rows sent so far, those of failed calls included.
  """

  def __init__(
    self,
    fn: Callable,
    num_classes: int,
    *,
    rows_per_call: int | None,
    max_rows: int | None,
    attempts: int,
    first_wait: float,
  ):
    self.fn, self.num_classes = fn, num_classes
    self.rows_per_call, self.max_rows = rows_per_call, max_rows
    self.attempts, self.first_wait = attempts, first_wait
    self.num_rows = 0

  def ask(self, images: np.ndarray) -> np.ndarray:
    """Answers float32 [B, K] to images [B, H, W, C], in as few calls as allowed."""
    self._check_limit(len(images))
    size = self.rows_per_call or len(images)
    parts = [self._ask(images[i : i + size]) for i in range(0, len(images), size or 1)]
    return np.concatenate([np.zeros((0, self.num_classes), np.float32), *parts])

  def _check_limit(self, num_rows):
    if self.max_rows is not None and self.num_rows + num_rows > self.max_rows:
      raise ValueError(
        f"the limit of max_rows={self.max_rows} does not allow {num_rows} more "
        f"rows after {self.num_rows}: raise it, or ask for less"
      )

  def _ask(self, images):
    for attempt in range(1, self.attempts + 1):
      self._check_limit(len(images))
      self.num_rows += len(images)
      try:
        answers = np.asarray(self.fn(images))
        break
      except (OSError, http.client.HTTPException) as e:  # what sockets and urllib raise
        if not _may_pass(e):
          raise
        if attempt == self.attempts:
          raise ConnectionError(
            f"the model did not answer {len(images)} rows in {attempt} attempts ({e}): run "
            f"again when it does, and an interrupted run goes on"
          ) from e
        wait = self.first_wait * 2 ** (attempt - 1)
        _LOG.warning("the model did not answer (%s): asking again in %g s", e, wait)
        time.sleep(wait)
    if answers.shape != (len(images), self.num_classes):
      raise ValueError(
        f"the model must answer {len(images)} rows with an array of shape "
        f"({len(images)}, {self.num_classes}), not {answers.shape}"
      )
    return answers.astype(np.float32)
