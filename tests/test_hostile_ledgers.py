"""Ledgers, metrics and checkpoints that are damaged, and disks that take nothing more."""

import contextlib
import errno
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

# --- ledgers


def _ledger(folder, *found):
  ledger = records.Ledger(folder)
  for record in found:
    ledger.append(record)
  return folder / "records.jsonl"


@pytest.mark.parametrize(
  "name, value, words",
  [
    ("dataset", "", "a name"),
    ("model", None, "a name"),
    ("strength", "much", "a finite number"),
    ("strength", True, "a finite number"),
    ("targeted", 1, "true or false"),
    ("num_samples", 0, "a whole number from 1 on"),
    ("seed", -1, "a whole number from 0 on"),
    ("index", 1.5, "a whole number from 0 on"),
    ("label", None, "a whole number from 0 on"),
    ("target", -2, "a whole number from 0 on, or null"),
    ("claimed", "yes", "true or false"),
    ("defended_success_rate", -3, "a number from 0 to 1"),
    ("noise_error_rate", 1.01, "a number from 0 to 1"),
    ("num_queries", -1, "a whole number from 0 on"),
    ("l2", -0.5, "a finite number from 0 on"),
    ("linf", None, "a finite number from 0 on"),
    ("zero_gradients", 2, "a number from 0 to 1"),
    ("setting", None, "names and values"),
  ],
)
def test_every_field_is_checked(name, value, words, tmp_path):
  path = tmp_path / "records.jsonl"
  lines = json.dumps(a_record()), json.dumps(a_record(index=9) | {name: value})
  path.write_text("".join(f"{line}\n" for line in lines))
  with pytest.raises(ValueError) as found:
    records.read(tmp_path)
  assert str(found.value) == (
    f"line 2 of {path} is not a record (its {name} is {value!r}, not {words}): remove the line, "
    f"its trial will be run again"
  )
  path.unlink()
  ledger = records.Ledger(tmp_path)
  with pytest.raises(ValueError, match=f"its {name} is "):
    ledger.append(a_record(**{name: value}))
  assert not path.exists() and not ledger.records


@pytest.mark.parametrize(
  "line, reason",
  [
    (b"", "it is empty"),
    (b"\0\0\0\0", "it is|Expecting value"),
    (b"[]", "it holds no names and values"),
    (b'{"l2": NaN}', "it holds NaN"),
    (b"\xff", "byte 0 is no UTF-8"),
    (b'{"run": 1, "run": 2}', "it has 'run' twice"),
  ],
)
def test_a_line_that_is_no_record(line, reason, tmp_path):
  path = _ledger(tmp_path, a_record())
  path.write_bytes(line + b"\n" + path.read_bytes())
  (tmp_path / "records.sums").unlink()
  with pytest.raises(ValueError, match=f"line 1 of {path} is not a record .({reason}).*: remove"):
    records.Ledger(tmp_path)
  # The sentence's advice helps.
  path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
  assert records.Ledger(tmp_path).records == [a_record()]


def test_a_record_lacks_no_field_but_the_newest(tmp_path):
  path = tmp_path / "records.jsonl"
  for name in records.FIELDS:
    record = a_record()
    del record[name]
    path.write_text(json.dumps(record) + "\n")
    if name == "zero_gradients":
      assert records.read(tmp_path) == [record]
    else:
      with pytest.raises(ValueError, match=f"it has no {name}"):
        records.read(tmp_path)


def test_append_says_what_is_no_number_and_takes_numpy_s(tmp_path):
  ledger = records.Ledger(tmp_path)
  with pytest.raises(ValueError, match="a record's l2 is nan, .*: see what made it"):
    ledger.append(a_record(l2=float("nan")))
  with pytest.raises(ValueError, match="a record's linf is of type ndarray"):
    ledger.append(a_record(linf=np.ones(2)))
  with pytest.raises(ValueError, match="a record's setting, h is inf"):
    ledger.append(a_record(setting={"h": np.float32(np.inf)}))
  ledger.append(a_record(l2=np.float32(1.5), index=np.int64(3), claimed=np.bool_(True)))
  assert records.read(tmp_path) == [a_record()] == ledger.records
  assert type(ledger.records[0]["index"]) is int


def test_a_changed_line_is_told(tmp_path):
  path = _ledger(tmp_path, a_record(l2=1.5), a_record(index=4))
  path.write_bytes(path.read_bytes().replace(b"1.5", b"1.6", 1))
  with pytest.raises(ValueError, match=r"line 1 .*changed after it was written, says records.sums"):
    records.read(tmp_path)
  (tmp_path / "records.sums").unlink()  # as ledgers of before: taken as they are
  assert records.read(tmp_path)[0]["l2"] == 1.6
  _ledger(tmp_path, a_record(index=5))
  assert len((tmp_path / "records.sums").read_text().split()) == len(records.read(tmp_path)) == 3


def test_copies_beside_a_ledger_are_not_read(tmp_path):
  _ledger(tmp_path, a_record())
  records.Ledger(tmp_path, 1, 2).append(a_record(index=4))
  for name in ("backup", "-1", "01", "1.old", "1-copy"):
    (tmp_path / f"records-{name}.jsonl").write_text(json.dumps(a_record(index=99)) + "\n")
  assert [record["index"] for record in records.read(tmp_path)] == [4, 3]


def test_two_lines_that_disagree_name_each_other(tmp_path):
  path = _ledger(tmp_path, a_record(index=1), a_record(), a_record())  # the same twice is one
  assert len(records.read(tmp_path)) == 2
  records.Ledger(tmp_path, 1, 2).append(a_record(claimed=False))
  with pytest.raises(ValueError) as found:
    records.read(tmp_path)
  other = tmp_path / "records-1.jsonl"
  assert str(found.value).startswith(
    f"line 1 of {other} and line 2 of {path} are of one trial and disagree, claimed is False and "
    f"True: remove the wrong one"
  )


def test_records_of_others_are_counted_and_described(tmp_path):
  _ledger(tmp_path, *(a_record(index=i) for i in range(6)))
  wanted = [a_record(index=0), a_record(index=7)]
  with pytest.raises(ValueError) as found:
    records.missing(tmp_path, wanted)
  text = str(found.value)
  assert "holds records of 5 trials that this command does not ask for: line 2 of" in text
  assert "has index=1; line 3 of" in text and "; and 2 more; remove these lines, or pass" in text
  assert records.missing(tmp_path, [a_record(index=i) for i in range(8)]) == [
    a_record(index=6),
    a_record(index=7),
  ]


@pytest.mark.parametrize("name", ["records.jsonl", "records.sums"])
def test_a_ledger_that_is_a_folder(name, tmp_path):
  _ledger(tmp_path, a_record())
  (tmp_path / name).unlink()
  (tmp_path / name).mkdir()
  with pytest.raises(OSError, match=f"{name} is a folder and should be a file: ") as found:
    records.Ledger(tmp_path)
  assert "Errno" not in str(found.value)


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
  path = _ledger(tmp_path, a_record())
  before, ledger = path.read_bytes(), records.Ledger(tmp_path)
  too_large = pytest.raises(OSError, match=f"cannot write {path} .File too large")
  with too_large, _at_most(len(before) + 20):
    ledger.append(a_record(index=4))
  assert path.read_bytes() == before and ledger.records == [a_record()]
  ledger.append(a_record(index=4))  # once there is space
  assert [record["index"] for record in records.read(tmp_path)] == [3, 4]


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
    (lambda path: (path / "state" / "manifest.ocdbt").write_bytes(b""), "OCDBT"),
  ],
)
@pytest.mark.filterwarnings("ignore")  # of what orbax leaves undone
def test_a_checkpoint_that_is_damaged(model, break_it, reason):
  break_it(model / "1")
  with pytest.raises(ValueError, match=f"{model} is damaged .*{reason}.*: delete it, or train"):
    checkpoints.load(model)


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


# --- numbers that are none


@pytest.mark.parametrize(
  "call, sentence",
  [
    (lambda: records.wilson(5, 3), "5 successes of 3 trials are no rate"),
    (lambda: records.wilson(-1, 3), "-1 successes of 3 trials"),
    (lambda: records.wilson(float("nan"), 3), "nan successes"),
    (lambda: records.wilson(0, -1), "of -1 trials"),
    (lambda: records.wilson(1, float("inf")), "of inf trials"),
    (lambda: records.wilson(1, 3, z=float("nan")), "z must be positive and finite, not nan"),
    (lambda: records.wilson(1, 3, z=0), "z must be positive"),
    (lambda: records.run_error([1, 2, 3], [0, 1]), "3 values and 2 runs do not go together"),
    (lambda: records.run_error([1, np.nan], [0, 1]), "a value is NaN or infinite"),
    (lambda: records.summarise([]), "there are no records to summarise"),
    (lambda: records.summarise([{}]), "record 1 cannot be summarised: it has no run"),
    (lambda: records.summarise([a_record(l2=np.nan)]), "record 1 .*: its l2 is nan"),
    (lambda: datasets.to_float(np.ones((1, 2, 2, 1), np.float32)), "must be uint8 .*not float32"),
    (lambda: training.batches(0, 5, 6, 0), "batch_size=6 does not fit: pass one from 1 to the 5"),
    (lambda: training.batches(0, 5, 0, 0), "batch_size=0"),
    (lambda: training.batches(0, 5, 5, -5), "start=-5 is no step"),
    (
      lambda: datasets.correctly_classified(np.zeros(3), np.zeros(2), 1),
      "do not go together: pass one of each",
    ),
  ],
)
def test_nonsense_is_refused(call, sentence):
  with pytest.raises(ValueError, match=sentence) as found:
    call()
  assert "\n" not in str(found.value) and ": " in str(found.value)
