"""Files of JSON lines, to which one line at a time is added and which a kill may tear.

Beside `NAME.jsonl` lies `NAME.sums`, a checksum of every line that was ever written: a line
that is not among them was changed. Lines may be removed, and files without sums are read, too.
"""

import json
import os
import pathlib
from typing import Any
from typing import NamedTuple
import zlib

from orjax.files import one_json
from orjax.files.told import cannot_write
from orjax.files.told import opened
from orjax.files.whole import replacing


class Line(NamedTuple):
  """A line of a file.

  Attributes:
    number: from 1 on.
    text: without its end.
    content: what it holds; None where it has a problem.
    problem: what is wrong with it, or None.
  """

  number: int
  text: bytes
  content: Any
  problem: str | None


def read_lines(path: str | os.PathLike, *, advice: str) -> list[Line]:
  """All lines of a file but a last one that is torn.

  A last line that is whole and only lacks its end is read.

  Args:
    path: of the `.jsonl` file.
    advice: what to do if it cannot be read at all.

  Raises:
    OSError: it cannot be read.
  """
  with opened(path, advice) as file:
    *texts, last = file.read().split(b"\n")
  sums = _sums(path, advice)
  lines = [_line(number, text, sums, path) for number, text in enumerate(texts, 1)]
  return lines + ([_line(len(lines) + 1, last, sums, path)] if _is_json(last) else [])


def _line(number, text, sums, path):
  text = text.rstrip(b"\r")
  try:
    content = one_json.parse(text)
  except ValueError as e:
    return Line(number, text, None, str(e))
  if sums is not None and _sum(text) not in sums:
    changed = f"it was changed after it was written, says {_beside(path).name}"
    return Line(number, text, None, changed)
  return Line(number, text, content, None)


def _is_json(text):
  try:
    one_json.parse(text)
  except ValueError:
    return False
  return True


def append_line(path: str | os.PathLike, content: Any, *, durable: bool = True) -> None:
  """Adds a line; where that fails, the file is as before.

  A signal leaves a line that was whole when it came, and no part of one.

  Args:
    path: of the `.jsonl` file, which need not exist.
    content: of the line, as JSON knows it: see `plain`.
    durable: wait until it is on the disk, so that a power cut cannot take it.

  Raises:
    OSError: it cannot be written.
  """
  path = pathlib.Path(path)
  text = json.dumps(content, allow_nan=False).encode()
  if path.exists() and not _beside(path).exists():
    _write_sums(path)
  # The sum first: a line without one would pass for a changed one.
  _append(_beside(path), f"{_sum(text)}\n".encode(), durable)
  _append(path, text + b"\n", durable)


def _write_sums(path):
  """Sums of lines that were written before there were sums."""
  texts = [line.text for line in read_lines(path, advice="move it away, or write elsewhere")]
  with replacing(_beside(path)) as temporary:
    temporary.write_text("".join(f"{_sum(text)}\n" for text in texts))


def _append(path, text, durable):
  try:
    with open(path, "ab", buffering=0) as file:
      before = file.seek(0, os.SEEK_END)
      try:
        left = memoryview(text)
        while left:
          left = left[file.write(left) :]
        if durable:
          os.fsync(file.fileno())
      except BaseException as e:
        # A signal leaves what is whole, as others may have read it.
        if isinstance(e, OSError) or file.seek(0, os.SEEK_END) < before + len(text):
          file.truncate(before)
        raise
  except OSError as e:
    raise cannot_write(path, e) from e


def mend_lines(path: str | os.PathLike) -> None:
  """Drops a torn last line and ends one that only lacks its end, so that lines can be added.

  Raises:
    OSError: the file cannot be read or written.
  """
  path = pathlib.Path(path)
  for file in (_beside(path), path):
    if not file.exists():
      continue
    with opened(file, "move it away, or write elsewhere") as content:
      last = content.read().rpartition(b"\n")[2]
    if not last:
      continue
    if file == path and _is_json(last):
      _append(file, b"\n", durable=True)
      continue
    try:
      os.truncate(file, file.stat().st_size - len(last))
    except OSError as e:
      raise cannot_write(file, e) from e


def _beside(path):
  return pathlib.Path(path).with_suffix(".sums")


def _sum(text):
  return f"{zlib.crc32(text):08x}"


def _sums(path, advice):
  """The sums beside a file, or None."""
  beside = _beside(path)
  if not beside.exists():
    return None
  with opened(beside, advice) as file:
    return set(file.read().decode("ascii", "replace").split())
