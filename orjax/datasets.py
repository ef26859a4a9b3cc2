"""Images as NumPy arrays, from TFDS or from scikit-learn's digits. Imports no JAX.

Decoded arrays, but ImageNet's, are cached beside the TFDS copy, so that a second start is
instant and does not need TFDS. The order is TFDS's own: it is not the order of the original files.
"""

import importlib.util
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from orjax import files

NAMES = ("digits", "mnist", "cifar10", "imagenet2012")
_DIGITS_TEST = 360  # of 1,797
_DIGITS_FILE = "datasets/data/digits.csv.gz"  # in scikit-learn


class Dataset(NamedTuple):
  """A split: images uint8 [N, H, W, C] in 0..255, labels int32 [N]."""

  images: np.ndarray
  labels: np.ndarray


def to_float(images: np.ndarray) -> np.ndarray:
  """Turns uint8 images in 0..255 into float32 in [0, 1].

  Raises:
    ValueError: they are of another type.
  """
  if images.dtype != np.uint8:
    raise ValueError(
      f"images to convert must be uint8 in 0..255, not {images.dtype}: leave out the conversion of "
      f"those in [0, 1]"
    )
  return images.astype(np.float32) / np.float32(255)


def load(
  name: str,
  split: str,
  data_dir: str | None = None,
  *,
  image_shape: tuple[int, int, int] | None = None,
  num_images: int | None = None,
) -> Dataset:
  """Loads one split of a data set.

  Args:
    name: `digits` (embedded, no network), or `mnist`, `cifar10` or `imagenet2012` (as
      prepared by TFDS).
    split: `train` or `test`; of ImageNet any split that was prepared.
    data_dir: TFDS's data directory; None means `~/tensorflow_datasets`.
    image_shape: ImageNet: (H, W, 3) of the model. Images are cropped to their central
      square and resized to it (bilinear, with antialiasing), as in QL's code.
    num_images: ImageNet: the first so many; None means all, which must fit in memory.

  Returns:
    A `Dataset`, in a fixed order.

  Raises:
    ValueError: unknown name or split.
    FileNotFoundError: the data set was never prepared; the message says what to run. A
      damaged cache is set aside before.
  """
  if name not in NAMES:
    raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(NAMES)}")
  root = pathlib.Path(data_dir or "~/tensorflow_datasets").expanduser()
  if name == "imagenet2012":
    if image_shape is None or len(image_shape) != 3 or image_shape[2] != 3:
      raise ValueError(
        f"ImageNet needs an image_shape of (H, W, 3), not {image_shape}: pass the model's"
      )
    return _imagenet(split, root, image_shape[:2], num_images)
  if split not in ("train", "test"):
    raise ValueError(f"unknown split {split!r}: choose train or test")
  if name == "digits":
    return _digits(split)
  cache = root / name / f"orjax-{split}.npz"
  cached = files.optional(cache, lambda: _read_cache(cache), None)
  if cached is not None:
    return cached
  dataset = _from_tfds(name, split, root)
  _write_cache(cache, dataset)
  return dataset


def _digits(split):
  rows = _digits_rows()
  labels = rows[:, -1]
  # 0..16 to 0..255, so that every data set has one range.
  images = np.round(rows[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
  order = np.random.default_rng(0).permutation(len(images))
  part = order[:_DIGITS_TEST] if split == "test" else order[_DIGITS_TEST:]
  return Dataset(images[part], labels[part].astype(np.int32))


def _digits_rows():
  """Pixels and label of each digit [1797, 65], without the slow import of scikit-learn."""
  package = importlib.util.find_spec("sklearn")
  for folder in (package and package.submodule_search_locations) or ():
    path = pathlib.Path(folder, _DIGITS_FILE)
    if path.exists():
      return np.loadtxt(path, delimiter=",")
  from sklearn.datasets import load_digits  # which knows where the file is, if it was moved

  images, labels = load_digits(return_X_y=True)
  return np.column_stack([images, labels])


def _from_tfds(name, split, root):
  source = _source(name, split, root)
  examples = source.__getitems__(list(range(len(source))))
  return Dataset(
    np.stack([e["image"] for e in examples]), np.array([e["label"] for e in examples], np.int32)
  )


def _source(name, split, root) -> Any:
  """TFDS's own random access to a prepared split."""
  how = (
    f'prepare it once with `python -c "import tensorflow_datasets as tfds; '
    f"tfds.builder('{name}', data_dir='{root}', file_format='array_record')"
    f'.download_and_prepare()"` (that step alone needs TensorFlow'
    f"{', and the original archives' if name == 'imagenet2012' else ''}) or pass the "
    f"--data_dir that holds it"
  )
  if not (root / name).is_dir():
    raise FileNotFoundError(f"{name} is not under {root}: {how}")
  import tensorflow_datasets as tfds  # slow import, only needed for the first start

  builder = tfds.builder(name, data_dir=str(root))
  if not builder.is_prepared():
    raise FileNotFoundError(f"{name} is not under {root}: {how}")
  if split not in builder.info.splits:
    raise ValueError(
      f"{name} under {root} has no split {split!r}: choose one of {', '.join(builder.info.splits)}"
    )
  try:
    return tfds.data_source(name, split=split, data_dir=str(root), download=False)
  except NotImplementedError as e:
    raise FileNotFoundError(
      f"{name} under {root} is stored in a format that only TensorFlow reads: {how}"
    ) from e


def _imagenet(split, root, size, num_images):
  source = _source("imagenet2012", split, root)
  num_images = len(source) if num_images is None else min(num_images, len(source))
  images = np.empty((num_images, *size, 3), np.uint8)
  labels = np.empty(num_images, np.int32)
  for i in range(num_images):  # one at a time: decoded images are large
    example = source[i]
    images[i], labels[i] = centre_crop(example["image"], size), example["label"]
  return Dataset(images, labels)


def centre_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The central part of an image [H, W, 3] uint8 with the proportions of `size`, resized."""
  from PIL import Image  # only needed for ImageNet

  height, width = image.shape[:2]
  scale = min(height / size[0], width / size[1])
  rows, columns = round(size[0] * scale), round(size[1] * scale)
  top, left = (height - rows) // 2, (width - columns) // 2
  part = image[top : top + rows, left : left + columns]
  if part.shape[:2] == tuple(size):
    return part
  return np.asarray(Image.fromarray(part).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _read_cache(path):
  found = files.read_npz(path, advice="remove it", names=("images", "labels"))
  try:
    return checked(found["images"], found["labels"], path.name)
  except ValueError as e:
    raise files.Damaged(path, str(e), "remove it") from e


def _write_cache(path, dataset):
  try:
    files.remove_leftovers(path.parent)
    files.write_npz(path, dataset._asdict())
  except OSError:
    pass  # a read-only copy: the next start decodes again


def checked(images: np.ndarray, labels: np.ndarray, name: str) -> Dataset:
  """A user's own images and labels as a `Dataset`.

  Args:
    images: uint8 [N, H, W, C] or [N, H, W], with 1, 3 or 4 channels last.
    labels: integers [N] from 0 on.
    name: what messages call them.

  Raises:
    ValueError: they are something else; the message says what to do.
  """
  if images.dtype != np.uint8:
    raise ValueError(
      f"{name}: images must be uint8 in 0..255, not {images.dtype}: multiply those in [0, 1] "
      f"by 255, round and convert them"
    )
  images = images[..., None] if images.ndim == 3 else images
  if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or not images.size:
    raise ValueError(
      f"{name}: images must be [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels last, not of "
      f"shape {images.shape}"
    )
  if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
    raise ValueError(
      f"{name}: labels must be integers [{len(images)}], one an image, not {labels.dtype} of "
      f"shape {labels.shape}"
    )
  if labels.min() < 0 or labels.max() >= 2**31:
    raise ValueError(
      f"{name}: labels must be classes from 0 on, not from {labels.min()} to {labels.max()}"
    )
  return Dataset(images, labels.astype(np.int32))


def correctly_classified(
  predictions: np.ndarray, labels: np.ndarray, num_images: int
) -> np.ndarray:
  """Indices of the first `num_images` images that the noiseless model classifies right.

  Args:
    predictions: predicted classes [N] of the undefended model.
    labels: true classes [N].
    num_images: how many to select, in data set order.

  Returns:
    Indices int [num_images].

  Raises:
    ValueError: there are fewer correctly classified images, or not one label a prediction.
  """
  if predictions.shape != labels.shape:
    raise ValueError(
      f"predictions of shape {predictions.shape} and labels of shape {labels.shape} do not go "
      f"together: pass one of each an image"
    )
  correct = np.flatnonzero(predictions == labels)
  if num_images > len(correct):
    raise ValueError(
      f"num_images={num_images} is more than the {len(correct)} images "
      f"that the model classifies correctly: ask for at most that many"
    )
  return correct[:num_images]


def targets(seed: int, index: int, label: int, num_classes: int, *, draw: bool) -> list[int]:
  """Target classes for one image: all other classes, or one drawn from (seed, index)."""
  others = [k for k in range(num_classes) if k != label]
  if not draw:
    return others
  return [others[np.random.default_rng([seed, index]).integers(len(others))]]
