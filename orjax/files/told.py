"""What is said of a file that cannot be read or written: its name, what is wrong, what to do."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib
from typing import BinaryIO

# What helps against an error of the system; of any other, a look at the folder.
_CURES = {
  errno.ENOSPC: "free space on its disk",
  errno.EDQUOT: "free space, your quota is used up",
  errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
  errno.EROFS: "make its folder writable",
  errno.EACCES: "make its folder writable",
  errno.EPERM: "make it writable",
  errno.ENOENT: "make its folder",
  errno.EISDIR: "move the folder of that name away",
  errno.EEXIST: "move the file of that name away",
  errno.ENOTDIR: "move the file that has the name of its folder away",
}


class Damaged(ValueError):
  """A file does not hold what it should.

  Attributes:
    path: of the file.
    reason: what is wrong with it.
  """

  def __init__(self, path: str | os.PathLike, reason: str, advice: str):
    super().__init__(f"{path} is damaged ({reason}): {advice}")
    self.path, self.reason = pathlib.Path(path), reason


def text_of(error: BaseException) -> str:
  """What an error says, on one line; its kind, if it says nothing."""
  line, column, reason = (getattr(error, x, None) for x in ("lineno", "colno", "msg"))
  if line and column:  # json's error, or that of another parser of its kind
    return f"it is no JSON at line {line}, column {column}: {reason}"
  text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
  return " ".join(str(text).split()) or type(error).__name__


def cannot_write(path: str | os.PathLike, error: OSError) -> OSError:
  """An error of the system as a sentence, of the same kind; one that is a sentence, as it is."""
  if error.errno is None:
    return error
  cure = _CURES.get(error.errno, "look at its folder")
  return type(error)(f"cannot write {path} ({text_of(error)}): {cure}, or write elsewhere")


@contextlib.contextmanager
def opened(path: str | os.PathLike, advice: str) -> Iterator[BinaryIO]:
  """A file for reading; what the system refuses is told in a sentence.

  Args:
    path: of the file.
    advice: what to do about it if it cannot be read.

  Raises:
    OSError: it is not there, is a folder, or cannot be read.
  """
  try:
    with open(path, "rb") as file:
      yield file
  except FileNotFoundError as e:
    raise FileNotFoundError(f"there is no file {path}: {advice}") from e
  except IsADirectoryError as e:
    raise IsADirectoryError(f"{path} is a folder and should be a file: {advice}") from e
  except OSError as e:
    if e.errno is None:
      raise
    raise type(e)(f"{path} cannot be read ({text_of(e)}): {advice}") from e
