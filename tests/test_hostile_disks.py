"""Disks that take nothing more, and checkpoints and metrics that are damaged."""

import contextlib
import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from test_records import a_record

from orjax import checkpoints
from orjax import datasets
from orjax import files
from orjax import models
from orjax import records
from orjax import training

# --- disks that take nothing more


@contextlib.contextmanager
def _at_most(num_bytes):
  """As `ulimit -f`: files of this process do not grow beyond."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
  "write, name",
  [
    (lambda path: files.write_json(path, {"a": "b" * 5000}), "x.json"),
    (lambda path: files.write_text(path, "ü" * 5000), "x.md"),
    (lambda path: files.write_npz(path, {"a": np.arange(900.0)}), "x.npz"),
  ],
)
@pytest.mark.parametrize("fault", ["size", "full", "no folder", "is folder"])
def test_a_file_that_cannot_be_written_stays_as_it_was(write, name, fault, tmp_path, monkeypatch):
  path = tmp_path / name
  path.write_bytes(b"before")
  limit = contextlib.nullcontext()
  if fault == "size":
    limit, cure = _at_most(1000), "File too large.*: raise the limit on the size of files"
  elif fault == "full":
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full))
    cure = "No space left on device.*: free space on its disk"
  elif fault == "no folder":
    path, cure = path / name, "Not a directory.*: move the file"
  else:
    path.unlink()
    path.mkdir()
    cure = "Is a directory.*: move the folder of that name away"
  with pytest.raises(OSError, match=f"cannot write {path} .{cure}.*, or write elsewhere"), limit:
    write(path)
  assert os.listdir(tmp_path) == [name]
  if path.is_file():
    assert path.read_bytes() == b"before"


def test_a_full_disk_leaves_the_ledger_whole(tmp_path):
  path, ledger = tmp_path / "records.jsonl", records.Ledger(tmp_path)
  ledger.append(a_record())
  before = path.read_bytes()
  too_large = pytest.raises(OSError, match=f"cannot write {path} .File too large")
  with too_large, _at_most(len(before) + 20):
    ledger.append(a_record(index=4))
  assert path.read_bytes() == before and ledger.records == [a_record()]
  ledger.append(a_record(index=4))  # once there is space
  assert [record["index"] for record in records.read(tmp_path)] == [3, 4]


def test_a_signal_takes_no_line_that_stood_in_the_ledger(tmp_path, monkeypatch):
  path, ledger = tmp_path / "records.jsonl", records.Ledger(tmp_path)
  to_disk, synced = os.fsync, []

  def interrupted(number):
    to_disk(number)
    synced.append(number)
    if len(synced) == 2:  # the line's; the first was its checksum's
      raise KeyboardInterrupt

  monkeypatch.setattr(os, "fsync", interrupted)
  with pytest.raises(KeyboardInterrupt):
    ledger.append(a_record())
  assert records.read(tmp_path) == records.Ledger(tmp_path).records == [a_record()]
  monkeypatch.setattr(os, "fsync", to_disk)
  before = path.read_bytes()

  class Torn(io.FileIO):
    """Takes half, and is interrupted."""

    def write(self, text):
      if self.name != path:
        return super().write(text)
      super().write(text[: len(text) // 2])
      raise KeyboardInterrupt

  monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Torn(path, mode))
  with pytest.raises(KeyboardInterrupt):
    ledger.append(a_record(index=4))
  monkeypatch.undo()
  assert path.read_bytes() == before


def test_what_is_for_people_ends_no_run(tmp_path, caplog):
  with _at_most(10):
    records.add_pictures(tmp_path, 0, {"a": np.arange(50.0)})
  assert len(caplog.records) == 1 and "cannot write" in caplog.text
  assert not os.listdir(tmp_path)


def test_leftovers_of_dead_processes_are_removed(tmp_path):
  code = (
    "import os, sys; from orjax import files\n"
    "with files.replacing(sys.argv[1]) as temporary:\n"
    "  temporary.write_text('half'); os._exit(1)"
  )
  subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")], check=False)
  (dead,) = os.listdir(tmp_path)
  assert dead.startswith(".a.") and ".partial" in dead
  alien = tmp_path / f".a.other{dead.removeprefix('.a.')}"  # of another host: perhaps alive
  alien.touch()
  with files.replacing(tmp_path / "b.json") as temporary:
    temporary.write_text("mine, and alive")
    records.make_folder(tmp_path)
    assert temporary.exists()
  assert sorted(os.listdir(tmp_path)) == [alien.name, "b.json"]


# --- checkpoints and metrics


@pytest.fixture(scope="module")
def _saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp("model")
  checkpoints.save(folder, {"a": np.arange(6.0), "b": (np.int32(1),)}, {"seed": 0})
  return folder


@pytest.fixture
def model(_saved, tmp_path):
  shutil.copytree(_saved, tmp_path / "model")
  return tmp_path / "model"


@pytest.mark.parametrize(
  "break_it, reason",
  [
    (lambda path: shutil.rmtree(path / "meta"), "1/ lacks its meta"),
    (lambda path: shutil.rmtree(path / "state"), "1/ lacks its state"),
    (lambda path: (path / "meta" / "metadata").write_text("{"), "Expecting"),
    (lambda path: (path / "meta" / "metadata").write_text("[]"), "meta holds no names"),
    (
      lambda path: (path / "meta" / "metadata").write_text(
        (path / "meta" / "metadata").read_text().replace('"seed": 0', '"seed": 1')
      ),
      "meta was changed",
    ),
    (
      lambda path: (path / "meta" / "metadata").write_text(
        (path / "meta" / "metadata").read_text().replace('"digest"', '"digect"')
      ),
      "lost one of its digests",
    ),
    (
      lambda path: (path / "state" / "manifest.ocdbt").write_bytes(b""),
      "missing, cut or changed: ",
    ),
  ],
)
@pytest.mark.filterwarnings("ignore")  # of what orbax leaves undone
def test_a_checkpoint_that_is_damaged(model, break_it, reason, capfd):
  break_it(model / "1")
  with pytest.raises(ValueError, match=f"{model} is damaged .*{reason}.*: delete it, or train"):
    checkpoints.load(model)
  assert capfd.readouterr() == ("", "")  # orbax would print pages


def test_other_arrays_than_were_saved_are_refused(model):
  shutil.copytree(model, model.parent / "other")
  checkpoints.save(model.parent / "other", {"a": np.ones(6), "b": (np.int32(1),)}, {"seed": 0})
  shutil.rmtree(model / "1" / "state")
  shutil.copytree(model.parent / "other" / "2" / "state", model / "1" / "state")
  with pytest.raises(ValueError, match="its arrays were changed after they were written"):
    checkpoints.load(model)


def test_a_broken_newer_step_does_not_hide_the_good_one(model):
  (model / "2").mkdir()
  shutil.copytree(model / "1", model / "3")
  shutil.rmtree(model / "3" / "meta")
  found = checkpoints.load(model)
  assert found and found.meta == {"seed": 0}
  np.testing.assert_array_equal(found.state["a"], np.arange(6.0))
  checkpoints.save(model, {"a": np.zeros(1)}, {"seed": 5})
  found = checkpoints.load(model)
  assert found and found.meta == {"seed": 5}


def test_a_checkpoint_of_before_there_were_fingerprints_loads(model):
  path = model / "1" / "meta" / "metadata"
  path.write_text('{"seed": 0}')
  found = checkpoints.load(model)
  assert found and found.meta == {"seed": 0}


def test_checkpoints_that_cannot_be(model, tmp_path):
  with pytest.raises(ValueError, match="its b.0 is of type int32, not float32; pass another"):
    checkpoints.load(model, {"a": np.zeros(6), "b": (np.float32(0),)})
  with pytest.raises(ValueError, match="a checkpoint's folder is a path, not None"):
    checkpoints.load(None)  # type: ignore[arg-type]
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="is a file and should be a folder of checkpoints"):
    checkpoints.load(tmp_path / "file")
  with pytest.raises(OSError, match="cannot write to .*: pass another folder"):
    checkpoints.save(tmp_path / "file", {"a": np.zeros(1)}, {})
  with pytest.raises(ValueError, match="a of a checkpoint is of type <U1: it holds numbers only"):
    checkpoints.save(tmp_path / "new", {"a": np.array("x")}, {})
  with pytest.raises(ValueError, match="meta of a checkpoint, x is nan"):
    checkpoints.save(tmp_path / "new", {"a": np.zeros(1)}, {"x": float("nan")})
  assert not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("ignore")  # of what orbax leaves undone
def test_a_full_disk_keeps_the_checkpoint_before(model):
  too_large = pytest.raises(OSError, match=f"to {model} .File too large.: free space")
  with too_large as found, _at_most(2000):
    checkpoints.save(model, {"a": np.random.default_rng(0).random(10_000)}, {})
  assert "\n" not in str(found.value) and os.listdir(model) == ["1"]
  kept = checkpoints.load(model)
  assert kept and kept.meta == {"seed": 0}


def _fit(folder, num_steps):
  classifier = models.build("convnet_digits")
  few = datasets.Dataset(*(x[:64] for x in datasets.load("digits", "test")))
  return training.fit(
    training.trainer(classifier, training.zoo_optimizer()),
    few,
    seed=0,
    num_steps=num_steps,
    batch_size=8,
    directory=str(folder),
    meta={"model": "m"},
    apply=lambda variables, key, images: classifier.apply(variables, images),
    test=few,
    devices=jax.devices()[:1],
  )


def test_damaged_lines_of_metrics_are_left_out(tmp_path, caplog):
  _fit(tmp_path, 50)
  path = tmp_path / training.METRICS
  lines = path.read_bytes().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [10, 20, 30, 40, 50]
  lines[1], lines[2] = b'{"step": 2', b"\xff{}"
  lines.append(b'{"step": 60, "lo')  # torn
  broken = b"\n".join(lines)
  path.write_bytes(broken)
  _fit(tmp_path, 60)
  steps = [json.loads(line)["step"] for line in path.read_bytes().splitlines()]
  assert steps == [10, 40, 50, 60]
  assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == broken
  assert "2 of its 5 lines are damaged and left out" in caplog.text
