"""Files with broken bytes: the content that was written or a sentence, and nothing else.

`ORJAX_FUZZ=50 python -m pytest -n0 tests/test_fuzz.py` breaks each file 50 times as often.
"""

from collections.abc import Callable
import importlib
import logging
import os
import pathlib
import tempfile
from typing import Any
from typing import NamedTuple

import hypothesis
from hypothesis import strategies
import jax
import numpy as np
import pytest
from test_records import a_record

from harness import choice
from harness import data
from harness import request
from orjax import checkpoints
from orjax import datasets
from orjax import files
from orjax import host
from orjax import records
from orjax import runner
from orjax.engine import snapshots
from orjax.engine.slots import Held
from orjax.engine.tasks import Outcome
from orjax.models import torchvision

_TIMES = int(os.environ.get("ORJAX_FUZZ", "1"))
_ARRAYS = {"images": np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1), "labels": np.arange(3)}
_WEIGHTS = {
  "conv1.weight": np.linspace(-1, 1, 2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3),
  "bn1.weight": np.ones(2, np.float32),
  "fc.bias": np.zeros(2, np.float32),
}
_EXPECTED = {
  "params": {
    "conv1": {"kernel": np.zeros((3, 3, 3, 2))},
    "bn1": {"scale": np.zeros(2)},
    "fc": {"bias": np.zeros(2)},
  },
  "batch_stats": {},
}


class Damage(NamedTuple):
  """What happens to bytes: `kind`, at two places, with other bytes."""

  kind: str
  here: int
  there: int
  other: bytes

  def __call__(self, content: bytes) -> bytes:
    here, there = sorted(x % (len(content) + 1) for x in (self.here, self.there))
    before, middle, after = content[:here], content[here:there], content[there:]
    return {
      "flip": before + bytes(x ^ self.other[0] for x in after[:1] or b"\0") + content[here + 1 :],
      "cut": before,
      "insert": before + self.other + content[here:],
      "remove": before + after,
      "repeat": before + middle + middle + after,
      "swap": after + middle + before,
      "overwrite": before + self.other + content[here + len(self.other) :],
    }[self.kind]


_PLACES = strategies.integers(0, 2**16)
_DAMAGE = strategies.lists(
  strategies.builds(
    Damage,
    strategies.sampled_from(["flip", "cut", "insert", "remove", "repeat", "swap", "overwrite"]),
    _PLACES,
    _PLACES,
    strategies.binary(min_size=1, max_size=6),
  ),
  min_size=1,
  max_size=2,
)


class Kind(NamedTuple):
  """A kind of file.

  Attributes:
    write: into a folder.
    read: from it.
    right: whether what was read of a damaged file is right, given what was read before.
    otherwise: what is read where the file is set aside with a warning; None if it never is.
    num_examples: of damage.
  """

  write: Callable[[pathlib.Path], Any]
  read: Callable[[pathlib.Path], Any]
  right: Callable[[Any, Any], bool] = lambda found, before: _bits(found) == _bits(before)
  otherwise: Any = None
  num_examples: int = 120


def _bits(content):
  """Arrays as what can be compared: type, shape and bytes."""
  exact = lambda x: (x.dtype.str, x.shape, x.tobytes()) if isinstance(x, np.ndarray) else x
  return jax.tree.map(exact, content)


def _is_part(found, before):
  """Some of the records, each once: a trial whose line is lost is run again."""
  left = list(before)
  return not any(record not in left or left.remove(record) for record in found)


def _is_part_in_order(found, before):
  """As `_is_part`, of lines that come one after the other."""
  left = iter(before)
  return all(line in left for line in found)


def _read_json(folder):
  path = folder / "a.json"
  return files.read_json(path, advice="remove it"), b'"digest"' in path.read_bytes()


def _is_checked(found, before):
  """A file that lost its digest is taken as it is, as those from before there were digests."""
  return not found[1] or found == before


def _are_weights(found, before):
  """No checksum says that weights are as they were; but they are finite, and of the network."""
  forms = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  return forms(found) == forms(before) and all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def _write_ledger(folder):
  ledger = records.Ledger(folder)
  for index in range(4):
    ledger.append(a_record(index=index))


def _write_manifest(folder):
  records.check_manifest(folder, {"seed": 123, "strength": [0.5]}, {"axis": "noise variance"})


def _write_accuracy(folder):
  _write_manifest(folder)
  records.write_accuracy(folder, {"0.5": {"accuracy": 0.123, "interval": [0.1, 0.2]}})


_TRACE = {"index": 0, "strength": 0.5, "num_samples": 1, "setting": {"loss": "xent"}}


def _write_traces(folder):
  _write_manifest(folder)
  trace = {**_TRACE, "losses": [1.5, None], "without_noise": [1.25]}
  records.write_traces(folder, 1, [trace])


def _write_metrics(folder):
  for step in range(10, 50, 10):
    files.append_line(folder / "metrics.jsonl", {"step": step, "loss": 1 / step})


def _read_metrics(folder):
  fit = importlib.import_module("orjax.training.fit")
  return fit._lines_until(folder / "metrics.jsonl", 40)


def _write_safetensors(folder):
  from safetensors.numpy import save_file

  save_file(_WEIGHTS, folder / "weights.safetensors")


class _Slots(NamedTuple):
  """What a snapshot must know of trials."""

  adversarial: np.ndarray
  finished: np.ndarray


_TASKS = [
  runner.Task({"index": i}, np.zeros((2, 2, 1), np.float32), 0, 0, i, {"stddev": 0.0})
  for i in range(3)
]
_HELD = Held(
  _Slots(np.full((2, 2, 2, 1), 0.25, np.float32), np.array([False, True])),
  (_TASKS[0], None),
  (
    Outcome(
      _TASKS[1], np.ones((2, 2, 1), np.float32), True, 3, 33, 0.0, False, 0.5, 0.0, {"length": 2.0}
    ),
  ),
)
_NOTHING = _HELD._replace(
  trials=_Slots(np.zeros((2, 2, 2, 1), np.float32), np.ones(2, bool)),
  occupants=(None, None),
  in_hand=(),
)
_UNUSED = [((5, 1, 2, 2, 1), np.full((1, 3), 0.5, np.float32))]


def _endpoint():
  return host.Endpoint(lambda images: images, 3)


def _write_snapshot(folder):
  endpoint = _endpoint()
  endpoint.unused = _UNUSED
  snapshots.save(str(folder / "snapshot.npz"), _HELD, "asked", (endpoint,))


def _read_snapshot(folder):
  endpoint, path = _endpoint(), str(folder / "snapshot.npz")
  found = snapshots.restore(path, _NOTHING.trials, _TASKS, "asked", (endpoint,))
  return found, endpoint.unused


KINDS = {
  "arrays": Kind(
    lambda folder: files.write_npz(folder / "a.npz", _ARRAYS, compressed=True),
    lambda folder: files.read_npz(folder / "a.npz", advice="remove it"),
  ),
  "a user's images": Kind(
    lambda folder: np.savez(folder / "mine.npz", **_ARRAYS),
    lambda folder: data.own_images(
      request.DataRequest("mine", None, str(folder / "mine.npz"), "~")
    ),
  ),
  "a cache of images": Kind(
    lambda folder: files.write_npz(folder / "cache.npz", _ARRAYS),
    lambda folder: files.optional(
      folder / "cache.npz", lambda: datasets._read_cache(folder / "cache.npz"), ()
    ),
    otherwise=(),
  ),
  "pictures": Kind(
    lambda folder: records.add_pictures(folder, 0, _ARRAYS), records.read_pictures, otherwise={}
  ),
  "a snapshot": Kind(_write_snapshot, _read_snapshot, otherwise=(_NOTHING, [])),
  "weights in npz": Kind(
    lambda folder: np.savez(folder / "weights.npz", **_WEIGHTS),
    lambda folder: torchvision.load(str(folder / "weights.npz"), _EXPECTED),
  ),
  "weights in safetensors": Kind(
    _write_safetensors,
    lambda folder: torchvision.load(str(folder / "weights.safetensors"), _EXPECTED),
    right=_are_weights,
  ),
  "JSON": Kind(
    lambda folder: files.write_json(folder / "a.json", {"a": [1.5, {"b": "ü"}]}),
    _read_json,
    right=_is_checked,
  ),
  "classes of the images to choose from": Kind(
    lambda folder: files.write_json(folder / "classes.json", {"seed": 1, "classes": [3, 1, 4]}),
    lambda folder: choice._known(folder / "classes.json", {"seed": 1}),
    otherwise=[],
  ),
  "a ledger": Kind(_write_ledger, records.read, right=_is_part),
  "a manifest": Kind(_write_manifest, records.read_manifest),
  "accuracy": Kind(_write_accuracy, records.read_accuracy),
  "accuracy of a run that goes on": Kind(_write_accuracy, records.kept_accuracy, otherwise={}),
  "traces": Kind(_write_traces, records.read_traces, otherwise=(0, [])),
  "metrics": Kind(_write_metrics, _read_metrics, right=_is_part_in_order, otherwise=[]),
  "a checkpoint": Kind(
    lambda folder: checkpoints.save(folder, {"a": np.arange(6.0), "b": (np.int32(1),)}, {"s": 1}),
    checkpoints.load,
    num_examples=15,
  ),
}


class _Told(logging.Handler):
  """Warnings of orjax's while a block runs."""

  def __enter__(self):
    self.texts, log = [], logging.getLogger("orjax")
    log.addHandler(self)
    log.propagate = False  # pytest would print all of them
    return self

  def emit(self, record):
    self.texts.append(record.getMessage())

  def __exit__(self, *unused):
    log = logging.getLogger("orjax")
    log.removeHandler(self)
    log.propagate = True


def _contents(folder):
  return {str(x.relative_to(folder)): x.read_bytes() for x in folder.rglob("*") if x.is_file()}


def _is_a_sentence(error, folder):
  text = str(error)
  assert str(folder) in text and "\n" not in text and ": " in text, text
  assert not isinstance(error, OSError) or error.errno is None, text
  for word in ("Errno", "pickle", "Traceback", "char 0"):
    assert word not in text.replace(str(folder), ""), text


@pytest.mark.filterwarnings("ignore")  # of what orbax leaves undone
@pytest.mark.parametrize("name", KINDS)
def test_broken_bytes(name, tmp_path):
  kind = KINDS[name]
  kind.write(tmp_path)
  whole, before = _contents(tmp_path), kind.read(tmp_path)

  @hypothesis.settings(
    max_examples=kind.num_examples * _TIMES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(which=_PLACES, damage=_DAMAGE)
  def check(which, damage):
    with tempfile.TemporaryDirectory(dir=tmp_path.parent) as folder, _Told() as told:
      folder = pathlib.Path(folder)
      for path, content in whole.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
      broken = folder / sorted(whole)[which % len(whole)]
      for some in damage:
        broken.write_bytes(some(broken.read_bytes()))
      kept = _contents(folder)
      try:
        found = kind.read(folder)
      except (ValueError, OSError) as e:
        _is_a_sentence(e, folder)
        assert _contents(folder) == kept
        return
      if kind.otherwise is not None and told.texts:
        (text,) = told.texts
        assert str(folder) in text and "\n" not in text
        (aside,) = folder.glob("*.damaged")  # not another file for this one's fault
        assert aside.name.split(".")[0] == broken.stem
        assert aside.read_bytes() == kept[aside.name.removesuffix(".damaged")]
        if _bits(found) == _bits(kind.otherwise):
          return
      assert kind.right(found, before), found

  check()
