"""Named arrays in `.npz` files, checked against their checksums."""

from collections.abc import Iterable
from collections.abc import Mapping
import errno
import io
import os
import zipfile

import numpy as np

from orjax.files.told import Damaged
from orjax.files.told import opened
from orjax.files.told import text_of
from orjax.files.whole import replacing

_END = b"PK\x05\x06"  # of an archive: begins its last 22 bytes


def read_npz(
  path: str | os.PathLike, *, advice: str, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
  """The arrays of an `.npz` file, by name. Nothing in it is ever executed.

  Args:
    path: of the file.
    advice: what to do if it cannot be read.
    names: of arrays that it must hold, which alone are read; None for all that it holds.

  Raises:
    Damaged: it holds something else, or other bytes than were written.
    OSError: it cannot be read.
  """
  with opened(path, advice) as file:
    try:
      return _arrays(file, names)
    except Exception as e:  # whatever zipfile, zlib or NumPy raises on broken bytes
      if isinstance(e, OSError) and e.errno not in (None, errno.EINVAL):
        raise
      raise Damaged(path, text_of(e), advice) from e


def write_npz(
  path: str | os.PathLike, arrays: Mapping[str, np.ndarray], *, compressed: bool = False
) -> None:
  """Writes named arrays; a crash leaves the old file or the new one.

  Raises:
    ValueError: an array holds Python objects.
    OSError: it cannot be written.
  """
  for name, array in arrays.items():
    if np.asarray(array).dtype.hasobject:
      raise ValueError(f"{name} of {path} holds Python objects: convert it to an array of numbers")
  kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
  with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", kind) as archive:
    for name, array in arrays.items():
      with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _arrays(file, names):
  if file.read(6) == b"\x93NUMPY":
    raise ValueError("it is one array, an .npy file, and not several with names")
  with zipfile.ZipFile(file) as archive:
    members = _members(archive, file)
    missing = sorted(set(names or ()) - members.keys())
    if missing:
      raise ValueError(f"it has no array {missing[0]!r}, only {', '.join(members) or 'nothing'}")
    return {name: _array(archive, members[name]) for name in (members if names is None else names)}


def _members(archive, file):
  """Arrays of an archive by name; refuses an archive whose list has lost or doubled some."""
  found = archive.infolist()
  names = [member.filename for member in found]
  before = file.seek(-22 - len(archive.comment), os.SEEK_END)
  end = file.read(22)
  # zipfile reads on where an archive's end is moved or changed. It has the number of members
  # twice, or 0xFFFF where they do not fit, and an archive without any is an end alone.
  counts = {int.from_bytes(end[i : i + 2], "little") for i in (8, 10)}
  is_whole = end[:4] == _END and counts in ({len(found)}, {0xFFFF})
  if not is_whole or bool(found) != bool(before):
    raise ValueError("its list of arrays is not whole")
  if len(set(names)) < len(names):
    raise ValueError("it has two arrays of one name")
  return {name.removesuffix(".npy"): member for name, member in zip(names, found)}


def _array(archive, member):
  content = archive.read(member)  # to the end, where the checksum is compared
  if content.startswith(b"\x93NUMPY"):
    stream = io.BytesIO(content)
    try:
      array = np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as e:
      if "pickle" in str(e):
        raise ValueError(f"{member.filename} holds Python objects, not numbers") from e
      raise
    if not stream.read(1):
      return array
  raise ValueError(f"{member.filename} is no array")
