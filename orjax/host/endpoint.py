"""A model outside JAX: any callable that answers a batch, asked with patience and counted."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import math
import numbers
import random
import sys
import time
from typing import Any
from typing import NamedTuple
import zlib

import numpy as np

from orjax.host import faults

_LOG = logging.getLogger("orjax")


class Patience(NamedTuple):
  """How long a model that does not answer is asked again.

  Attributes:
    attempts: calls for the same rows before giving up.
    first_wait: seconds before the second attempt, doubled for each further one.
    longest_wait: seconds, also where the model's `Retry-After` wants more.
    sleep: waits so many seconds.
    draw: a number of [0, 1); each wait is up to half as long again, so that many clients
      do not come back at once.
    clock: seconds since the epoch, for a `Retry-After` that is a date.
  """

  attempts: int = 5
  first_wait: float = 1.0
  longest_wait: float = 60.0
  sleep: Callable[[float], None] = time.sleep
  draw: Callable[[], float] = random.random
  clock: Callable[[], float] = time.time

  def wait(self, attempt: int, fault: faults.Fault) -> float:
    """Seconds to wait after attempt 1, 2, ..."""
    doubled = self.first_wait * 2.0 ** min(attempt - 1, 64)
    wanted = faults.wanted_wait(fault, self.clock())
    return min(max(doubled, wanted), self.longest_wait) * (1 + self.draw() / 2)


class Endpoint:
  """A Python callable that answers a batch of rows, with retries and a count.

  Attributes:
    num_rows: rows sent so far, those of failed calls included: what may be billed.
    num_requests: calls so far, failed ones included.
    unused: (question, answers) of calls that something failed after: given to the same
      questions before the model is asked again, once each.
  """

  def __init__(
    self,
    fn: Callable,
    num_classes: int,
    *,
    rows_per_call: int | None = None,
    max_rows: int | None = None,
    patience: Patience = Patience(),
  ):
    """Says how `fn` is asked; `oracles.from_host` explains the arguments."""
    if not callable(fn):
      raise ValueError(f"fn must be a function of images [B, H, W, C], not {type(fn).__name__}")
    _check_counts(
      num_classes=(num_classes, 2),
      attempts=(patience.attempts, 1),
      rows_per_call=(rows_per_call, 1),
      max_rows=(max_rows, 0),
    )
    for name in ("first_wait", "longest_wait"):
      seconds = getattr(patience, name)
      if not (isinstance(seconds, int | float) and 0 <= seconds < math.inf):
        raise ValueError(f"{name} must be at least 0, in seconds and finite, not {seconds}")
    self.fn, self.num_classes = fn, int(num_classes)
    self.rows_per_call = rows_per_call if rows_per_call is None else int(rows_per_call)
    self.max_rows, self.patience = max_rows, patience
    self.num_rows = self.num_requests = 0
    self.unused: list[tuple[tuple[int, ...], np.ndarray]] = []
    self._used: list[tuple[tuple[int, ...], np.ndarray]] = []
    self._depth, self._is_told = 0, False

  def ask(self, images: np.ndarray) -> np.ndarray:
    """Answers float32 [B, K] to images [B, H, W, C], in as few calls as allowed.

    Raises:
      ConnectionError: the model did not answer, in any attempt.
      OSError: it refuses to.
      ValueError: `max_rows` is reached, or `fn` failed or did not return what it must.
    """
    size = self.rows_per_call or len(images)
    parts = [images[i : i + size] for i in range(0, len(images), size or 1)]
    with self.together():
      answers = [self._known_or_asked(part) for part in parts]
    return np.concatenate([np.zeros((0, self.num_classes), np.float32), *answers])

  @contextlib.contextmanager
  def together(self) -> Iterator[None]:
    """A block whose answers are used together: where it fails, they are kept in `unused`."""
    self._depth += 1
    try:
      yield
    except BaseException:
      if self._depth == 1:
        self.unused = [*self._used, *self.unused]
      raise
    else:
      if self._depth == 1:
        self.unused = []  # of another question
    finally:
      self._depth -= 1
      if not self._depth:
        self._used = []

  def _known_or_asked(self, images):
    question = (zlib.crc32(np.ascontiguousarray(images)), *images.shape)
    known = [number for number, (other, _) in enumerate(self.unused) if other == question]
    answers = self.unused.pop(known[0])[1] if known else self._ask(images)
    self._used.append((question, answers))
    return answers

  def _check_limit(self, num_rows):
    if self.max_rows is not None and self.num_rows + num_rows > self.max_rows:
      raise ValueError(
        f"the limit of max_rows={self.max_rows} does not allow {num_rows} more "
        f"rows after {self.num_rows}: raise it, or ask for less"
      )

  def _ask(self, images):
    """Answers to the rows of one call, asked again where that may help."""
    last = self.patience.attempts
    for attempt in range(1, int(last) + 1):
      self._check_limit(len(images))
      self.num_rows += len(images)
      self.num_requests += 1
      handled = sys.exception()
      try:
        # A copy for each attempt, as `fn` may work in place.
        answers = self.fn(np.array(images, np.float32, order="C"))
        break
      except SystemExit as e:
        if e.code:  # a signal's handler may end the program in here
          raise
        raise ValueError(self._failed(e)) from e
      except Exception as e:
        fault = faults.understood(e, handled)
        if not fault.may_pass:
          raise self._for_good(e, fault) from e
        if attempt == last:
          raise ConnectionError(
            f"the model did not answer {len(images)} rows in {attempt} attempts "
            f"({faults.told(e)}): see that it is up and can be reached"
          ) from e
        wait = self.patience.wait(attempt, fault)
        _LOG.warning(
          f"the model did not answer {len(images)} rows ({faults.told(e)}): asking again in "
          f"{wait:.2g} s, attempt {attempt + 1} of {last}"
        )
      self.patience.sleep(wait)
    return self._checked(answers, len(images))

  def _for_good(self, error, fault) -> Exception:
    """The sentence of an error that will not pass."""
    if fault.status is not None:
      return OSError(
        f"the model refuses to answer, with HTTP status {fault.status} ({faults.told(error)})"
        f"{faults.place(error)}: check the address and the key that its function uses"
      )
    return (OSError if fault.asking else ValueError)(self._failed(error))

  def _failed(self, error):
    return (
      f"the model's function failed{faults.place(error)} ({faults.told(error)}): it must answer "
      f"{self._wanted()}"
    )

  def _wanted(self):
    return f"images [B, H, W, C] with an array of {self.num_classes} numbers for each"

  def _checked(self, answers: Any, num_rows: int) -> np.ndarray:
    """The answers of `fn` as float32 [num_rows, K]."""
    kind = type(answers).__name__
    try:
      array = np.asarray(answers)
    except Exception as e:  # ragged lists, tensors of a GPU or with a gradient
      raise ValueError(
        f"the model's function returned a {kind} that NumPy cannot read ({faults.told(e)}): it "
        f"must answer {self._wanted()}"
      ) from e
    is_numeric = array.dtype.kind in "fiub" or array.dtype.name == "bfloat16"
    if not is_numeric or array.shape != (num_rows, self.num_classes):
      raise ValueError(
        f"the model's function must answer {num_rows} rows with numbers of shape "
        f"({num_rows}, {self.num_classes}), not {array.shape} of {array.dtype} ({kind})"
      )
    with np.errstate(over="ignore"):
      array = array.astype(np.float32)
    wrong = ~np.isfinite(array).all(-1)
    if wrong.any():
      raise ValueError(
        f"the model's function answered NaN or infinity in {wrong.sum()} of {num_rows} rows: it "
        f"must answer {self._wanted()}, all finite"
      )
    self._warn_of_logits(array)
    return array

  def _warn_of_logits(self, answers):
    """Says once that answers are far from probabilities; noise may take them out of [0, 1]."""
    if self._is_told or not answers.size or (answers.min() >= -1 and answers.max() <= 2):
      return
    self._is_told = True
    _LOG.warning(
      f"the model's function answers numbers from {answers.min():.3g} to {answers.max():.3g}: if "
      f"these are logits or percents, let it answer probabilities"
    )


def _check_counts(**counts):
  """Raises ValueError for (value, least) where a value is no whole number from `least` on."""
  for name, (value, least) in counts.items():
    whole = isinstance(value, numbers.Real) and value >= least and value % 1 == 0
    if not whole and not (value is None and name in ("rows_per_call", "max_rows")):
      raise ValueError(f"{name} must be at least {least}, and a whole number, not {value}")
