"""Named arrays in `.safetensors` files."""

from collections.abc import Mapping
import os

import numpy as np

from orjax.files.told import Damaged
from orjax.files.told import opened
from orjax.files.told import text_of
from orjax.files.whole import replacing


def read_safetensors(path: str | os.PathLike, *, advice: str) -> dict[str, np.ndarray]:
  """The arrays of a `.safetensors` file, by name; it has no checksums.

  Args:
    path: of the file.
    advice: what to do if it cannot be read.

  Raises:
    Damaged: it holds something else.
    OSError: it cannot be read.
  """
  from safetensors.numpy import load  # only needed here

  with opened(path, advice) as file:
    content = file.read()
  try:
    return load(content)
  except Exception as e:  # whatever safetensors raises on broken bytes
    raise Damaged(path, text_of(e), advice) from e


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes named arrays of numbers; a crash leaves the old file or the new one.

  Raises:
    OSError: it cannot be written.
  """
  from safetensors.numpy import save  # only needed here

  content = save({name: np.ascontiguousarray(x) for name, x in arrays.items()})
  with replacing(path) as temporary:
    temporary.write_bytes(content)
