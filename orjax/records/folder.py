"""A folder of records, and its JSON files."""

import os
import pathlib
from typing import Any

from orjax import files

ELSEWHERE = "restore it, or pass another --out"


def make_folder(directory: str | os.PathLike) -> None:
  """Makes a folder for records, and removes what killed processes left half-written there.

  Raises:
    OSError: it cannot be written.
  """
  files.make_folder(directory, "pass another --out")


def read_json(directory: str | os.PathLike, name: str) -> dict:
  """Reads `manifest.json`, or another JSON file, of a folder.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is damaged.
  """
  path = pathlib.Path(directory) / name
  if not os.path.lexists(path):
    raise FileNotFoundError(
      f"{directory} has no {name}: pass the --out of a main that wrote records"
    )
  return files.read_json(path, advice=ELSEWHERE)


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
  """Writes JSON so that a crash leaves the old file or the new one; see `files.write_json`."""
  files.write_json(path, content)


def numbered(directory: str | os.PathLike, stem: str, suffix: str) -> list[pathlib.Path]:
  """A folder's `<stem><suffix>` and `<stem>-<process><suffix>`, and none of their copies."""
  return sorted(
    path
    for path in pathlib.Path(directory).glob(f"{stem}*{suffix}")
    if path.name == f"{stem}{suffix}" or _is_process(path.name[len(stem) : -len(suffix)])
  )


def _is_process(text):
  return text[:1] == "-" and text[1:].isdecimal() and text[1:] == str(int(text[1:]))
