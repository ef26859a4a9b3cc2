"""SIGINT and SIGTERM: the first ends a main once what was done is saved, the next at once."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import signal

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_first: list[int] = []


class Terminated(BaseException):
  """SIGTERM came: what was done is to be saved, and the process to end."""


def came() -> int | None:
  """The signal that was raised, if one was: libraries may have made another error of it."""
  return _first[0] if _first else None


def _raised(number):
  _first.append(number)
  return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def listen() -> None:
  """From now on the first signal is raised where the program is; the next one ends it."""

  def on_signal(number, frame):
    del frame
    _last()
    raise _raised(number)

  for number in _NUMBERS:
    signal.signal(number, on_signal)


def _last():
  for number in _NUMBERS:
    signal.signal(number, lambda again, _: os._exit(128 + again))


@contextlib.contextmanager
def postponed() -> Iterator[Callable[[], bool]]:
  """Work that ends itself when a signal has come, and is asked to by `came()`.

  Yields:
    `came() -> bool`. The signal is raised when the block is left.
  """
  before = {number: signal.getsignal(number) for number in _NUMBERS}
  found: list[int] = []

  def on_signal(number, frame):
    del frame
    found.append(number)
    _last()

  for number in _NUMBERS:
    signal.signal(number, on_signal)
  try:
    yield lambda: bool(found)
  finally:
    if not found:
      for number, handler in before.items():
        signal.signal(number, handler)
  if found:
    raise _raised(found[0])
