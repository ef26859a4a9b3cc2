"""What went wrong in a user's function: whether it may pass, where it was, and in which words.

Errors of HTTP clients are known by what they carry, so that no client needs to be imported:
urllib's have `code` and `headers`, those of requests and httpx a `response` with both.
"""

import datetime
import email.utils
import http.client
import math
import os
import re
import sysconfig
import traceback
from typing import Any
from typing import NamedTuple

_OF_A_BUSY_SERVER = (408, 429)  # and all from 500 on
# Where a connection was lost and the client's error is no OSError: httpx, aiohttp, openai.
_LOST = {"TransportError", "ClientConnectionError", "APIConnectionError"}
# Of httpx: its own side is at fault.
_FOR_GOOD = {"UnsupportedProtocol", "LocalProtocolError"}
_OF_FILES = (
  FileNotFoundError,
  FileExistsError,
  PermissionError,
  IsADirectoryError,
  NotADirectoryError,
)
_LONGEST_TEXT = 200
_NOT_THE_USERS = (
  "<frozen",
  os.path.join(os.path.dirname(__file__), ""),
  *(
    os.path.join(sysconfig.get_path(name), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
  ),
)


class Fault(NamedTuple):
  """What an error means.

  Attributes:
    asking: it is about asking, not about what `fn` does with the images or the answer.
    may_pass: it may be gone when the same is asked again.
    status: the HTTP status that it is about, if any.
    headers: of that answer, if any.
  """

  asking: bool
  may_pass: bool
  status: int | None
  headers: Any


def understood(error: BaseException, handled: BaseException | None = None) -> Fault:
  """What an error means, from itself and from what it was raised from.

  Args:
    error: that `fn` raised.
    handled: what was being handled when `fn` was called, which is not about this call.
  """
  causes = _causes(error, handled)
  for holder in (x for one in causes for x in (getattr(one, "response", None), one)):
    for name in ("status_code", "code", "status"):
      value = getattr(holder, name, None)
      if isinstance(value, int) and 100 <= value < 600:
        may_pass = value >= 500 or value in _OF_A_BUSY_SERVER
        return Fault(True, may_pass, int(value), getattr(holder, "headers", None))
  if isinstance(error, ValueError):  # of requests: a bad address, or a body that is no JSON
    return Fault(False, False, None, None)
  asking = any(
    isinstance(one, (OSError, http.client.HTTPException))
    or bool(_LOST & {kind.__name__ for kind in type(one).__mro__})
    for one in causes
  )
  for_good = isinstance(error, _OF_FILES) or type(error).__name__ in _FOR_GOOD
  return Fault(asking, asking and not for_good, None, None)


def _causes(error, handled):
  """An error and what it was raised from or while handling, as one client may wrap another."""
  causes: list[BaseException] = []
  current: BaseException | None = error
  while current is not None and current is not handled and current not in causes:
    causes.append(current)
    hidden = current.__suppress_context__
    current = current.__cause__ or (None if hidden else current.__context__)
  return causes


def wanted_wait(fault: Fault, now: float) -> float:
  """Seconds that the server wants to be left alone, by its `Retry-After`; 0 without one.

  Args:
    fault: what its answer means.
    now: seconds since the epoch, for a `Retry-After` that is a date.
  """
  get = getattr(fault.headers, "get", lambda name: None)
  text = str(get("Retry-After") or get("retry-after") or "").strip()
  try:
    seconds = float(text)
  except ValueError:
    try:
      date = email.utils.parsedate_to_datetime(text)
    except ValueError:
      return 0.0
    if date.tzinfo is None:
      date = date.replace(tzinfo=datetime.UTC)
    seconds = date.timestamp() - now
  return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def told(error: BaseException) -> str:
  """An error in one short line: a server's text without control codes, addresses without keys."""
  try:
    text = " ".join(str(error).split())
  except Exception:  # an error that cannot even be printed
    text = ""
  text = re.sub(r"//[^/@\s]+@", "//...@", text)
  text = re.sub(r"(\b(?:https?://|url: /)[^\s?'\"]*)\?[^\s'\"]*", r"\1?...", text)
  if len(text) > _LONGEST_TEXT:
    text = text[:_LONGEST_TEXT] + "..."
  text = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)
  name = type(error).__name__
  return f"{name}: {text}" if text else name


def place(error: BaseException) -> str:
  """Where in the user's own files an error was raised: " at line 3 of model.py", or nothing."""
  frames = [
    frame
    for frame in traceback.extract_tb(error.__traceback__)
    if not frame.filename.startswith(_NOT_THE_USERS)
  ]
  if not frames:
    return ""
  return f" at line {frames[-1].lineno} of {os.path.basename(frames[-1].filename)}"
