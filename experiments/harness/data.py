"""The images to choose from: a data set by name, or the user's own."""

import functools
import hashlib
import pathlib

import numpy as np

from harness import own
from harness import request
from harness.request import DataRequest
from harness.request import Option
from orjax import datasets
from orjax import files

_OWN_TEST = 0.2  # of the user's images, where orjax trains on the others

DATASET = (
  Option("dataset", "enum", "digits", "data set", request.WHAT, choices=datasets.NAMES),
  Option(
    "data",
    "string",
    None,
    "your own images instead: an .npz file with uint8 `images` [N, H, W, C] "
    "or [N, H, W] and integer `labels` [N], or path/to/file.py:factory, where factory() returns "
    "(images, labels)",
    request.WHAT,
    science=False,
  ),
  Option(
    "data_dir",
    "string",
    "~/tensorflow_datasets",
    "where TFDS keeps its prepared data sets",
    request.WHAT,
    science=False,
  ),
)
CHOICE = (
  Option(
    "split",
    "string",
    None,
    "ImageNet: the prepared split to attack; validation by default",
    request.WHAT,
  ),
  Option(
    "num_test_images",
    "integer",
    None,
    "use the first so many images of the split only; all by "
    "default, of ImageNet or with --host_model 1000",
    request.HOW_MUCH,
    low=1,
  ),
)


def read(values: request.Values) -> DataRequest:
  """The request that the flags make.

  Raises:
    ValueError: flags that do not go together.
  """
  path = values["data"]
  if path is not None:
    if "dataset" in values.given:
      raise ValueError("--data and --dataset name two sets of images: pass one of them")
    is_array = path.endswith(".npz")
    if not is_array and ":" not in path:
      raise ValueError(f"--data={path} is neither an .npz file nor path/to/file.py:factory")
    name = pathlib.Path(path).stem if is_array else own.name(path)
    found = DataRequest(name, None, path, values["data_dir"])
  else:
    found = DataRequest(values["dataset"], values["dataset"], None, values["data_dir"])
  if "split" not in values.by_name:
    return found
  if values["split"] is not None and found.dataset != "imagenet2012":
    raise ValueError("--split is for --dataset=imagenet2012: leave it out")
  return found._replace(**values.named("split", "num_test_images"))


def own_images(asked: DataRequest) -> datasets.Dataset:
  """The user's images and labels, checked; read once, unless the file changes.

  Raises:
    ValueError: they are not what they should be; the message says what to do.
    OSError: there is no such file.
  """
  assert asked.path, "only the user's own images have a path"
  file = pathlib.Path(asked.path.rpartition(":")[0] or asked.path).expanduser()
  return _own_images(asked.path, file.stat().st_mtime_ns if file.exists() else 0)


@functools.lru_cache(maxsize=1)
def _own_images(path, changed):
  del changed
  if path.endswith(".npz"):
    images, labels = _arrays(path)
  else:
    found = own.made(path, "data")
    if not isinstance(found, tuple) or len(found) != 2:
      raise ValueError(
        f"--data={path}: the factory must return (images, labels), not {type(found).__name__}"
      )
    images, labels = map(np.asarray, found)
  return datasets.checked(images, labels, f"--data={path}")


def fingerprint(asked: DataRequest) -> str | None:
  """A short digest of the user's own images and labels, for a manifest; None of a data set."""
  if asked.path is None:
    return None
  digest = hashlib.sha256()
  for array in own_images(asked):
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:16]


def _arrays(path):
  file = pathlib.Path(path).expanduser()
  advice = "save it with np.savez(file, images=uint8 [N, H, W, C], labels=integers [N])"
  if not file.is_file():
    raise FileNotFoundError(f"--data={path}: there is no such file")
  try:
    found = files.read_npz(file, advice=advice, names=("images", "labels"))
  except files.Damaged as e:
    raise ValueError(f"--data={path} cannot be read ({e.reason}): {advice}") from e
  return found["images"], found["labels"]


def train_and_test(asked: DataRequest) -> tuple[datasets.Dataset, datasets.Dataset]:
  """What orjax trains on and what it tests; the user's own images are divided at random."""
  if asked.dataset is not None:
    train, test = (datasets.load(asked.dataset, x, asked.data_dir) for x in ("train", "test"))
    return train, test
  whole = own_images(asked)
  order = np.random.default_rng(0).permutation(len(whole.labels))
  num_test = max(1, round(_OWN_TEST * len(order)))
  part = lambda which: datasets.Dataset(*(x[which] for x in whole))
  return part(order[num_test:]), part(order[:num_test])


def shape_and_classes(asked: DataRequest) -> tuple[tuple[int, ...], int]:
  """Shape of the user's own images and number of classes, for a network made for them."""
  whole = own_images(asked)
  return whole.images.shape[1:], int(whole.labels.max()) + 1


def test_images(
  asked: DataRequest, image_shape: tuple[int, int, int], *, limited: bool, trained_here: bool
) -> datasets.Dataset:
  """The images to choose from.

  Args:
    asked: which.
    image_shape: what the model wants; ImageNet is brought to it.
    limited: whether a thousand are enough unless asked otherwise.
    trained_here: whether orjax trained the model, on the other images of the user's own.

  Raises:
    ValueError: the images do not fit the model.
  """
  limited = limited or asked.dataset == "imagenet2012"
  num_images = asked.num_test_images or (1000 if limited else None)
  if asked.dataset == "imagenet2012":
    return datasets.load(
      asked.dataset,
      asked.split or "validation",
      asked.data_dir,
      image_shape=image_shape,
      num_images=num_images,
    )
  if asked.dataset is not None:
    test = datasets.load(asked.dataset, "test", asked.data_dir)
  else:
    test = train_and_test(asked)[1] if trained_here else own_images(asked)
  test = datasets.Dataset(*(x[:num_images] for x in test))
  if test.images.shape[1:] != tuple(image_shape):
    raise ValueError(
      f"the model takes images of shape {tuple(image_shape)}, but those of {asked.name} have "
      f"shape {test.images.shape[1:]}: pass another --dataset, --data or --model"
    )
  return test
