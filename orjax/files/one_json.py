"""JSON files, which say by a digest whether they are as they were written."""

import hashlib
import json
import math
import os
from typing import Any

import numpy as np

from orjax.files.told import Damaged
from orjax.files.told import opened
from orjax.files.told import text_of
from orjax.files.whole import replacing

_DIGEST = "digest"


def read_json(path: str | os.PathLike, *, advice: str) -> dict[str, Any]:
  """The content of a JSON file, without its digest.

  Files that were written before there were digests are taken as they are.

  Args:
    path: of the file.
    advice: what to do if it cannot be read.

  Raises:
    Damaged: it is no JSON, no object, or was changed since it was written.
    OSError: it cannot be read.
  """
  with opened(path, advice) as file:
    text = file.read()
  try:
    found = parse(text)
  except ValueError as e:
    raise Damaged(path, str(e), advice) from e
  if not isinstance(found, dict):
    raise Damaged(path, f"it holds {_kind(found)}, not names and values", advice)
  if not found:  # what is written has a digest, if nothing else
    raise Damaged(path, "it holds no names and values", advice)
  if _DIGEST in found and found.pop(_DIGEST) != digest(found):
    raise Damaged(
      path, f'it was changed after it was written: its "{_DIGEST}" is of another content', advice
    )
  return found


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
  """Writes JSON, with its digest, so that a crash leaves the old file or the new one.

  NumPy's numbers become JSON's.

  Raises:
    ValueError: it holds NaN, infinity or what JSON does not know; the message says where.
    OSError: it cannot be written.
  """
  content = plain(content, f"what {os.path.basename(path)} would hold")
  text = json.dumps({**content, _DIGEST: digest(content)}, indent=2, sort_keys=True)
  with replacing(path) as temporary:
    temporary.write_bytes(text.encode() + b"\n")


def digest(content: Any) -> str:
  """A short digest of JSON content: 16 hexadecimal digits, whatever the order of its names."""
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def plain(content: Any, where: str) -> Any:
  """Content as JSON knows it: NumPy's numbers as Python's, tuples as lists.

  Args:
    content: numbers, text, lists and dicts.
    where: it stands, for messages.

  Raises:
    ValueError: a number is NaN or infinite, or something is no JSON; the message says where.
  """
  if isinstance(content, np.generic):
    content = content.item()
  if content is None or isinstance(content, bool | int | str):
    return content
  if isinstance(content, float):
    if not math.isfinite(content):
      raise ValueError(f"{where} is {content}, which no file of records may hold: see what made it")
    return content
  if isinstance(content, dict):
    for name in content:
      if not isinstance(name, str):
        raise ValueError(f"{where} has the name {name!r}: names must be text")
    return {name: plain(x, f"{where}, {name}") for name, x in content.items()}
  if isinstance(content, list | tuple):
    return [plain(x, f"{where}, number {i}") for i, x in enumerate(content)]
  raise ValueError(
    f"{where} is of type {type(content).__name__}, which JSON does not know: pass numbers, text, "
    f"lists and dicts"
  )


def parse(text: bytes) -> Any:
  """Content of JSON text, strictly.

  Raises:
    ValueError: it is none, has a name twice, or has NaN or infinity.
  """
  try:
    return json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_once)
  except UnicodeDecodeError as e:
    raise ValueError(f"byte {e.start} is no UTF-8") from e
  except RecursionError as e:
    raise ValueError("it is nested without end") from e
  except ValueError as e:
    raise ValueError("it is empty" if not text.strip() else text_of(e)) from e


def _refuse(name):
  raise ValueError(f"it holds {name}")


def _once(pairs):
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"it has {twice!r} twice")
  return found


def _kind(content):
  kinds = {list: "a list", str: "text", bool: "yes or no", type(None): "nothing"}
  return kinds.get(type(content), "a number")
