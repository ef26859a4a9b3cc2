"""Weights that torchvision published, for the networks of `resnet`."""

import pathlib
from typing import Any

import jax
import numpy as np

from orjax import files

# torchvision's name of a tensor, by the collection and name it has in Flax.
_NORM = {
  "weight": ("params", "scale"),
  "bias": ("params", "bias"),
  "running_mean": ("batch_stats", "mean"),
  "running_var": ("batch_stats", "var"),
}
_OTHER = "pass the weights of the network that --model names"


def load(path: str, expected: Any) -> Any:
  """Reads a state dict and gives it the shape of a classifier's variables.

  An `.npz` file has a checksum of every tensor, which is compared. A `.safetensors` file has
  none: that its tensors are finite and those of the network is all that is known of them, so
  compare the file's digest (`sha256sum`) with the one that its source publishes.

  Args:
    path: of a `.safetensors` or `.npz` file with the tensors of a state dict by name.
    expected: variables of the classifier, or their shapes.

  Returns:
    Variables float32, of the structure of `expected`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is no such file, or its tensors are not those of the network or not finite;
      the message names the first that is missing, left over or of another shape.
  """
  tensors = _read(pathlib.Path(path).expanduser())
  variables: dict = {"params": {}, "batch_stats": {}}
  for name, tensor in sorted(tensors.items()):
    if name.endswith("num_batches_tracked"):
      continue
    *modules, kind = name.split(".")
    if len(modules) > 2 and modules[0].startswith("layer"):
      modules[:2] = [f"{modules[0]}_{modules[1]}"]
    if len(modules) > 2 and modules[1] == "downsample":
      modules[1:] = [f"downsample_{modules[2]}"]
    if kind == "weight" and tensor.ndim == 4:
      collection, leaf, tensor = "params", "kernel", tensor.transpose(2, 3, 1, 0)
    elif kind == "weight" and tensor.ndim == 2:
      collection, leaf, tensor = "params", "kernel", tensor.T
    elif kind in _NORM:
      collection, leaf = _NORM[kind]
    else:
      raise ValueError(f"{path} holds {name}, which no ResNet has: {_OTHER}")
    place = variables[collection]
    for module in modules:
      place = place.setdefault(module, {})
      if not isinstance(place, dict):
        raise ValueError(
          f"{path} holds {name} and a tensor that has the name of its module: {_OTHER}"
        )
    place[leaf] = np.ascontiguousarray(tensor, dtype=np.float32)
  _check(path, variables, expected)
  return variables


def _read(path):
  if not path.is_file():
    raise FileNotFoundError(f"there is no file {path}: pass a .safetensors or .npz file")
  if path.suffix == ".npz":
    tensors = files.read_npz(path, advice="write it again, with np.savez of the state dict")
  elif path.suffix == ".safetensors":
    tensors = files.read_safetensors(path, advice="download it again")
  else:
    raise ValueError(f"{path} is neither .safetensors nor .npz: save the state dict as one")
  for name, tensor in tensors.items():
    if tensor.dtype.kind not in "fiub" and tensor.dtype.name != "bfloat16":
      raise ValueError(
        f"{path} holds {name} of type {tensor.dtype}, which is no number: save the state dict as "
        f"float32"
      )
    if not np.isfinite(tensor.astype(np.float32)).all():
      raise ValueError(f"{path} holds {name} with NaN or infinity: download it again")
  return tensors


def _check(path, found, expected):
  shapes = lambda tree: {
    jax.tree_util.keystr(key, simple=True, separator="."): x.shape
    for key, x in jax.tree_util.tree_leaves_with_path(tree)
  }
  found, expected = shapes(found), shapes(expected)
  for name in sorted(found.keys() | expected.keys()):
    if found.get(name) != expected.get(name):
      raise ValueError(
        f"{path} does not fit the network: {name} should have shape {expected.get(name)}, but has "
        f"{found.get(name)}; {_OTHER}"
      )
