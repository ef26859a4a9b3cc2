"""Files that are whole at any moment: the old content or the new one, never a part."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import itertools
import logging
import os
import pathlib
import re
import secrets
import socket
from typing import TypeVar

from orjax.files.told import cannot_write
from orjax.files.told import Damaged
from orjax.files.told import text_of

_LOG = logging.getLogger("orjax")
_T = TypeVar("_T")
# Tells apart processes of one number: in containers all are number 1.
_TOKEN = secrets.token_hex(4)
_COUNT = itertools.count()
_TEMPORARY = re.compile(
  r"\..*\.(?P<host>[^/]*)-(?P<process>\d+)-(?P<token>[0-9a-f]{8})-\d+\.partial.*"
)


def _host():
  return socket.gethostname()[:64]


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives the path of a temporary file beside `path`, which takes its place at the end.

  Where the block raises, or the process dies in it, `path` stays as it was. The temporary
  file has the suffix of `path`, and a name that no other process on any host uses.

  Args:
    path: of the file to write; its folder must exist.

  Yields:
    Where to write.

  Raises:
    OSError: it cannot be written; the message names `path` and says what to do.

  Example:
    with files.replacing("manifest.json") as temporary:
      temporary.write_text(text)
  """
  path = pathlib.Path(path)
  owner = f"{_host()}-{os.getpid()}-{_TOKEN}-{next(_COUNT)}"
  temporary = path.with_name(f".{path.stem[:100]}.{owner}.partial{path.suffix}")
  try:
    yield temporary
    _to_disk(temporary)
    temporary.replace(path)
  except OSError as e:
    raise cannot_write(path, e) from e
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink()


def _to_disk(path):
  # Without it a power cut may leave the new name with no content.
  with open(path, "rb") as file:
    os.fsync(file.fileno())


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes text in UTF-8, wherever the program runs."""
  with replacing(path) as temporary:
    temporary.write_bytes(text.encode())


def make_folder(directory: str | os.PathLike, advice: str) -> None:
  """Makes a folder to write to, and removes what killed processes left half-written there.

  Args:
    directory: of the folder; those above it are made, too.
    advice: what to do if it cannot be written.

  Raises:
    OSError: it cannot be written.
  """
  folder = pathlib.Path(directory)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe.{_host()}-{os.getpid()}-{_TOKEN}-{next(_COUNT)}.partial"
    probe.touch()
    probe.unlink()
  except OSError as e:
    raise type(e)(f"cannot write to {directory} ({text_of(e)}): {advice}") from e
  remove_leftovers(folder)


def remove_leftovers(directory: str | os.PathLike) -> None:
  """Removes temporary files of `replacing` whose processes, on this host, are dead."""
  for path in pathlib.Path(directory).glob(".*.partial*"):
    owner = _TEMPORARY.fullmatch(path.name)
    if owner and owner["host"] == _host() and not _is_alive(int(owner["process"]), owner["token"]):
      with contextlib.suppress(OSError):
        path.unlink()


def _is_alive(process, token):
  if process == os.getpid():
    return token == _TOKEN  # else of another, before a restart
  try:
    os.kill(process, 0)
  except (ProcessLookupError, OverflowError):
    return False
  except OSError:
    return True  # of another user
  return True


def set_aside(path: str | os.PathLike, reason: str) -> None:
  """Renames a file that cannot be used to NAME.damaged, and warns; it is not lost.

  Args:
    path: of the file.
    reason: what is wrong with it.
  """
  path = pathlib.Path(path)
  target, number = path.with_name(f"{path.name}.damaged"), itertools.count(2)
  while os.path.lexists(target):
    target = path.with_name(f"{path.name}.damaged-{next(number)}")
  try:
    path.rename(target)
  except FileNotFoundError:
    return  # another process was faster
  except OSError as e:
    _LOG.warning(
      "%s is passed over: %s; it cannot be renamed, either (%s)", path, reason, text_of(e)
    )
    return
  _LOG.warning("%s is kept as %s and passed over: %s", path, target.name, reason)


def optional(path: str | os.PathLike, read: Callable[[], _T], otherwise: _T) -> _T:
  """What `read` finds in a file that need not be there; one that is damaged is set aside.

  Args:
    path: of the file.
    read: reads it; raises `Damaged`, or OSError, if it cannot.
    otherwise: what stands for a file that is not there, or cannot be read.
  """
  if not os.path.lexists(path):
    return otherwise
  try:
    return read()
  except FileNotFoundError:
    return otherwise
  except Damaged as e:
    set_aside(path, e.reason)
  except OSError as e:
    set_aside(path, text_of(e))
  return otherwise
