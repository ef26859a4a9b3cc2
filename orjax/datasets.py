"""Images as NumPy arrays, from TFDS or from scikit-learn's digits. Imports no JAX.

Decoded arrays are cached beside the TFDS copy, so that a second start is instant and
does not need TFDS. The order is TFDS's own: it is not the order of the original files.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np

NAMES = ("digits", "mnist", "cifar10")
_DIGITS_TEST = 360  # of 1,797


class Dataset(NamedTuple):
  """A split: images uint8 [N, H, W, C] in 0..255, labels int32 [N]."""

  images: np.ndarray
  labels: np.ndarray


def to_float(images: np.ndarray) -> np.ndarray:
  """Turns uint8 images in 0..255 into float32 in [0, 1]."""
  return images.astype(np.float32) / np.float32(255)


def load(name: str, split: str, data_dir: str | None = None) -> Dataset:
  """Loads one split of a data set.

  Args:
    name: `digits` (embedded, no network), `mnist` or `cifar10` (as prepared by TFDS).
    split: `train` or `test`.
    data_dir: TFDS's data directory; None means `~/tensorflow_datasets`.

  Returns:
    A `Dataset`, in a fixed order.

  Raises:
    ValueError: unknown name or split.
    FileNotFoundError: the data set was never prepared; the message says what to run.
  """
  if name not in NAMES:
    raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
  if split not in ("train", "test"):
    raise ValueError(f"unknown split {split!r}: choose train or test")
  if name == "digits":
    return _digits(split)
  root = pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser()
  cache = root / name / f"orjax-{split}.npz"
  if cache.exists():
    with np.load(cache) as arrays:
      return Dataset(arrays["images"], arrays["labels"])
  dataset = _from_tfds(name, split, root)
  _write_cache(cache, dataset)
  return dataset


def _digits(split):
  from sklearn.datasets import load_digits  # slow import, only needed here

  images, labels = load_digits(return_X_y=True)
  # 0..16 to 0..255, so that every data set has one range.
  images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  order = np.random.default_rng(0).permutation(len(images))
  part = order[:_DIGITS_TEST] if split == "test" else order[_DIGITS_TEST:]
  return Dataset(images[part], labels[part].astype(np.int32))


def _from_tfds(name, split, root):
  how = (f"prepare it once with `python -c \"import tensorflow_datasets as tfds; "
         f"tfds.builder('{name}', data_dir='{root}', file_format='array_record')"
         f".download_and_prepare()\"` (that step alone needs TensorFlow) or pass the "
         f"--data_dir that holds it")
  if not (root / name).is_dir():
    raise FileNotFoundError(f"{name} is not under {root}: {how}")
  import tensorflow_datasets as tfds  # slow import, only needed for the first start

  if not tfds.builder(name, data_dir=str(root)).is_prepared():
    raise FileNotFoundError(f"{name} is not under {root}: {how}")
  try:
    source = tfds.data_source(name, split=split, data_dir=str(root), download=False)
  except NotImplementedError as e:
    raise FileNotFoundError(f"{name} under {root} is stored in a format that only "
                            f"TensorFlow reads: {how}") from e
  examples = source.__getitems__(list(range(len(source))))
  return Dataset(np.stack([e["image"] for e in examples]),
                 np.array([e["label"] for e in examples], np.int32))


def _write_cache(path, dataset):
  temporary = path.with_suffix(f".{os.getpid()}.npz")
  try:
    np.savez(temporary, images=dataset.images, labels=dataset.labels)
    temporary.replace(path)
  except OSError:
    pass  # a read-only copy: the next start decodes again


def correctly_classified(predictions: np.ndarray, labels: np.ndarray, num_images: int,
                         ) -> np.ndarray:
  """Indices of the first `num_images` images that the noiseless model classifies right.

  Args:
    predictions: predicted classes [N] of the undefended model.
    labels: true classes [N].
    num_images: how many to select, in data set order.

  Returns:
    Indices int [num_images].

  Raises:
    ValueError: there are fewer correctly classified images.
  """
  correct = np.flatnonzero(predictions == labels)
  if num_images > len(correct):
    raise ValueError(f"num_images={num_images} is more than the {len(correct)} images "
                     f"that the model classifies correctly: ask for at most that many")
  return correct[:num_images]


def targets(seed: int, index: int, label: int, num_classes: int, *, draw: bool,
            ) -> list[int]:
  """Target classes for one image: all other classes, or one drawn from (seed, index)."""
  others = [k for k in range(num_classes) if k != label]
  if not draw:
    return others
  return [others[np.random.default_rng([seed, index]).integers(len(others))]]
