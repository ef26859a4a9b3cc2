"""Published networks: a classifier's parameters in one small file, and a card that says what it is.

Training again gives other last bits on another machine or another version of JAX, and so other
records. A published network gives the published records.
"""

import os
import pathlib
from typing import Any

import jax
import numpy as np

from orjax import checkpoints
from orjax import files

_FINGERPRINT = "fingerprint"
_ADVICE = "fetch it and its card again, or train the network"


def publish(path: str | os.PathLike, variables: Any, card: dict) -> None:
  """Writes a network's parameters, float32, and beside it a card, `.json`.

  What float16 has all numbers of is stored as that, which loses nothing: see `rounded`.

  Args:
    path: of a `.safetensors` file; its folder is made.
    variables: the network's.
    card: what it is: recipe, seed, steps, test accuracy.

  Raises:
    ValueError: the file has another ending, parameters are not float32, or the card is no JSON.
    OSError: they cannot be written.
  """
  path = _checked(path)
  tensors = checkpoints.named(jax.tree.map(np.asarray, variables))
  for name, tensor in tensors.items():
    if tensor.dtype != np.float32:
      raise ValueError(f"{name} is of type {tensor.dtype}: published parameters are float32")
  files.make_folder(path.parent, "pass another folder")
  card = {**card, _FINGERPRINT: checkpoints.fingerprint(variables)}
  files.write_json(path.with_suffix(".json"), card)  # first: a network is not without its card
  half = {name: _to_half(tensor) for name, tensor in tensors.items()}
  exact = all((half[name] == tensor).all() for name, tensor in tensors.items())
  files.write_safetensors(path, half if exact else tensors)


def rounded(variables: Any) -> Any:
  """Parameters float32 rounded to numbers of float16, so that half of the bytes publish them.

  It is another network, by a relative 5e-4 of each parameter: measure its accuracy again.

  Raises:
    ValueError: one is beyond float16's largest, 65504.
  """
  found = jax.tree.map(lambda x: _to_half(np.asarray(x)).astype(np.float32), variables)
  if not all(np.isfinite(x).all() for x in jax.tree.leaves(found)):
    raise ValueError("a parameter is beyond 65504, the largest of float16: publish all as they are")
  return found


def _to_half(array):
  with np.errstate(over="ignore"):
    return array.astype(np.float16)


def load(path: str | os.PathLike, expected: Any) -> checkpoints.Checkpoint:
  """Reads a published network and its card.

  Args:
    path: of its `.safetensors` file.
    expected: variables of the network, or their shapes.

  Returns:
    `state` the variables, of the structure of `expected`; `meta` the card.

  Raises:
    ValueError: a file is damaged, the parameters are another network's, or not the card's.
    OSError: a file is not there or cannot be read.
  """
  path = _checked(path)
  card = card_of(path)
  tensors = files.read_safetensors(path, advice=_ADVICE)
  widened = {n: x.astype(np.float32) if x.dtype == np.float16 else x for n, x in tensors.items()}
  variables = checkpoints.fitted(path, widened, expected)
  if checkpoints.fingerprint(variables) != card.get(_FINGERPRINT):
    raise files.Damaged(path, f"its parameters are not those of {path.stem}.json", _ADVICE)
  return checkpoints.Checkpoint(variables, card)


def card_of(path: str | os.PathLike) -> dict:
  """What the card beside a `.safetensors` file says.

  Raises:
    ValueError: it is damaged.
    OSError: it is not there or cannot be read.
  """
  return files.read_json(_checked(path).with_suffix(".json"), advice=_ADVICE)


def _checked(path):
  path = pathlib.Path(path).expanduser()
  if path.suffix != ".safetensors":
    raise ValueError(f"{path} is no .safetensors file: pass a network that was published")
  return path
