"""Files that are torn, flipped, of something else or cannot be written: told, and nothing lost."""

import json
import logging
import os
import shutil

import numpy as np
import pytest
from test_records import a_record

from harness import data
from harness import request
from harness.report import ledgers
from orjax import datasets
from orjax import files
from orjax import records
from orjax.models import torchvision

_ARRAYS = {"images": np.zeros((2, 2, 2, 1), np.uint8), "labels": np.zeros(2, np.int32)}
_ADVICE = "do this"


def _flipped(path):
  content = path.read_bytes()
  path.write_bytes(content[:70] + bytes(x ^ 0x10 for x in content[70:80]) + content[80:])


def _as_folder(path):
  path.unlink(missing_ok=True)
  path.mkdir()


def _with(content):
  return lambda path: path.write_bytes(content)


def _is_a_sentence(error, path):
  text = str(error)
  assert str(path) in text and "\n" not in text and ": " in text, text
  for word in ("Errno", "pickle", "Traceback", "line 1 column 1 (char 0)"):
    assert word not in text, text


# --- arrays


def _pickled(path):
  np.savez(path, images=np.array([{}]), labels=_ARRAYS["labels"])


BROKEN_ARRAYS = {
  "empty": (_with(b""), "is damaged"),
  "text": (_with(b"text"), "is damaged"),
  "cut": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "is damaged"),
  "flipped": (_flipped, "is damaged"),
  "one array": (_with(b"\x93NUMPY\x01\x00"), "it is one array, an .npy"),
  "without one": (lambda path: np.savez(path, images=_ARRAYS["images"]), "has no array 'labels'"),
  "pickled": (_pickled, "holds Python objects, not numbers"),
  "a folder": (_as_folder, "is a folder and should be a file"),
  "gone": (lambda path: path.unlink(), "there is no file"),
}


@pytest.mark.parametrize("kind", BROKEN_ARRAYS)
def test_arrays_that_cannot_be_read(kind, tmp_path):
  path = tmp_path / "arrays.npz"
  files.write_npz(path, _ARRAYS)
  break_it, sentence = BROKEN_ARRAYS[kind]
  break_it(path)
  with pytest.raises((ValueError, OSError), match=sentence) as found:
    files.read_npz(path, advice=_ADVICE, names=("images", "labels"))
  _is_a_sentence(found.value, path)
  assert str(found.value).endswith(_ADVICE)


@pytest.mark.parametrize("kind", [k for k in BROKEN_ARRAYS if k != "gone"])
def test_a_user_s_images_and_weights_are_errors(kind, tmp_path):
  path = tmp_path / "mine.npz"
  files.write_npz(path, _ARRAYS)
  BROKEN_ARRAYS[kind][0](path)
  asked = request.DataRequest("mine", None, str(path), "~")
  with pytest.raises((ValueError, OSError), match=f"--data={path}.*: ") as found:
    data.own_images(asked)
  _is_a_sentence(found.value, path)
  with pytest.raises((ValueError, OSError)) as found:
    torchvision.load(str(path), {})
  _is_a_sentence(found.value, path)
  assert path.exists()


@pytest.mark.parametrize("kind", [k for k in BROKEN_ARRAYS if k != "gone"])
def test_a_cache_is_set_aside_and_made_again(kind, tmp_path, monkeypatch, caplog):
  decoded = datasets.Dataset(**_ARRAYS)
  monkeypatch.setattr(datasets, "_from_tfds", lambda *_: decoded)
  (tmp_path / "mnist").mkdir()
  datasets.load("mnist", "test", str(tmp_path))
  path = tmp_path / "mnist" / "orjax-test.npz"
  BROKEN_ARRAYS[kind][0](path)
  found = datasets.load("mnist", "test", str(tmp_path))
  np.testing.assert_array_equal(found.images, decoded.images)
  assert path.is_file() and (tmp_path / "mnist" / "orjax-test.npz.damaged").exists()
  assert len(caplog.records) == 1 and "is kept as orjax-test.npz.damaged" in caplog.text


@pytest.mark.parametrize("kind", ["empty", "cut", "flipped", "one array", "pickled", "a folder"])
def test_pictures_are_set_aside_and_not_lost(kind, tmp_path, caplog):
  records.add_pictures(tmp_path, 0, {"a": np.ones(300)})
  path = tmp_path / "pictures.npz"
  BROKEN_ARRAYS[kind][0](path)
  broken = None if path.is_dir() else path.read_bytes()
  records.add_pictures(tmp_path, 0, {"b": np.zeros(2)})
  assert set(records.read_pictures(tmp_path)) == {"b"}
  kept = tmp_path / "pictures.npz.damaged"
  assert broken is None or kept.read_bytes() == broken
  assert len(caplog.records) == 1
  path.write_bytes(b"torn again")
  assert records.read_pictures(tmp_path) == {}
  assert kept.exists() and (tmp_path / "pictures.npz.damaged-2").read_bytes() == b"torn again"


def test_damaged_weights_in_safetensors(tmp_path):
  for content in (b"", b"\xff" * 8, b"\x08\0\0\0\0\0\0\0not json", b"\x02\0\0\0\0\0\0\0{}surplus"):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as found:
      torchvision.load(str(path), {})
    _is_a_sentence(found.value, path)


# --- JSON

BROKEN_JSON = {
  "empty": (_with(b""), "it is empty"),
  "torn": (lambda path: path.write_bytes(path.read_bytes()[:20]), "is damaged"),
  "a list": (_with(b"[]"), "holds a list, not names and values"),
  "null": (_with(b"null"), "holds nothing"),
  "no UTF-8": (_with(b'{"\xff": 1}'), "byte 2 is no UTF-8"),
  "NaN": (_with(b'{"schema": NaN}'), "it holds NaN"),
  "twice": (_with(b'{"schema": 2, "schema": 2}'), "it has 'schema' twice"),
  "nested": (_with(b"[" * 100_000), "nested"),
  "changed": (
    lambda path: path.write_text(path.read_text().replace("123", "124")),
    "changed after it was written",
  ),
  "a folder": (_as_folder, "is a folder and should be a file"),
}


@pytest.mark.parametrize("kind", BROKEN_JSON)
def test_a_manifest_that_is_damaged(kind, tmp_path):
  records.check_manifest(tmp_path, {"seed": 123}, {})
  path = tmp_path / "manifest.json"
  break_it, sentence = BROKEN_JSON[kind]
  break_it(path)
  for read in (
    lambda: records.read_manifest(tmp_path),
    lambda: records.check_manifest(tmp_path, {"seed": 123}, {}),
    lambda: records.read(tmp_path),
  ):
    with pytest.raises((ValueError, OSError), match=sentence) as found:
      read()
    _is_a_sentence(found.value, path)
  assert path.exists()


@pytest.mark.parametrize(
  "content, sentence",
  [
    ({"asked": None, "about": {}}, "asked is None"),
    ({"asked": {"defense": 3}, "about": {}}, "asked is none of an older orjax"),
    ({"schema": "x", "request": {}, "about": {}}, "its schema is 'x'"),
    ({"schema": 0, "request": {}, "about": {}}, "its schema is 0"),
    ({"schema": 2, "request": [], "about": {}}, "its request is \\[\\], not names and values"),
    ({"schema": 2, "request": {}, "about": {}, "digect": "a"}, "it has 'digect'"),
    ({"schema": 2, "about": {}}, "is about no records"),
  ],
)
def test_a_manifest_of_something_else(content, sentence, tmp_path):
  (tmp_path / "manifest.json").write_text(json.dumps(content))
  with pytest.raises(ValueError, match=sentence) as found:
    records.read_manifest(tmp_path)
  _is_a_sentence(found.value, tmp_path / "manifest.json")


@pytest.mark.parametrize(
  "kept", ["records.jsonl", "records-3.jsonl", "accuracy.json", "snapshot-0-1.npz"]
)
def test_work_without_a_manifest_is_of_nobody(kept, tmp_path):
  (tmp_path / kept).write_bytes(b"{}\n")
  with pytest.raises(ValueError, match=f"holds {kept} but no manifest.json, .*: restore it"):
    records.check_manifest(tmp_path, {"seed": 0}, {})
  assert os.listdir(tmp_path) == [kept]


@pytest.mark.parametrize(
  "kind", [*BROKEN_JSON, "no strength", "no accuracy", "an accuracy of 3", "no pair"]
)
def test_an_accuracy_that_is_damaged_is_measured_again(kind, tmp_path, caplog):
  records.check_manifest(tmp_path, {"seed": 0, "strength": [0.5]}, {})
  path, known = tmp_path / "accuracy.json", {"accuracy": 0.123, "interval": [0.1, 0.2]}
  records.write_accuracy(tmp_path, {"0.5": known})
  assert records.kept_accuracy(tmp_path) == records.read_accuracy(tmp_path) == {"0.5": known}
  of_first_form = {
    "no strength": {"x": known},
    "no accuracy": {"0.5": {}},
    "an accuracy of 3": {"0.5": {"accuracy": 3}},
    "no pair": {"0.5": {**known, "interval": [0.1]}},
  }
  if kind in of_first_form:
    path.write_text(json.dumps(of_first_form[kind]))
  else:
    BROKEN_JSON[kind][0](path)
  with pytest.raises((ValueError, OSError)) as found:
    records.read_accuracy(tmp_path)
  _is_a_sentence(found.value, path)
  assert records.kept_accuracy(tmp_path) == {}
  assert not path.exists() and (tmp_path / "accuracy.json.damaged").exists()
  assert len(caplog.records) == 1 and caplog.records[0].levelno == logging.WARNING


def test_an_accuracy_of_another_request_is_measured_again(tmp_path, caplog):
  for seed in (0, 1):
    records.make_folder(tmp_path / str(seed))
    records.check_manifest(tmp_path / str(seed), {"seed": seed}, {})
  records.write_accuracy(tmp_path / "0", {"0": {"accuracy": 0.5}})
  shutil.copy(tmp_path / "0" / "accuracy.json", tmp_path / "1")
  with pytest.raises(ValueError, match="of another request than manifest.json.*: remove it"):
    records.read_accuracy(tmp_path / "1")
  assert records.kept_accuracy(tmp_path / "1") == {} and "another request" in caplog.text


def test_strengths_that_differ_have_names_of_their_own(tmp_path):
  strengths = [0.0, 1e-4, 1.0000001e-4, 1 / 3, 1]
  assert [records.strength_key(s) for s in strengths] == [
    *("0", "0.0001", "0.00010000001", "0.3333333333333333", "1")
  ]
  records.check_manifest(tmp_path, {"strength": strengths}, {})
  files.write_json(tmp_path / "accuracy.json", {"0.333333": {"accuracy": 0.25}})
  assert records.read_accuracy(tmp_path) == {records.strength_key(1 / 3): {"accuracy": 0.25}}
  files.write_json(tmp_path / "accuracy.json", {"0.0001": {"accuracy": 0.25}})
  with pytest.raises(ValueError, match="its 0.0001 may be of strength 0.0001 or 0.00010000001"):
    records.read_accuracy(tmp_path)


@pytest.mark.parametrize("kind", [*BROKEN_JSON, "no traces", "no losses", "words"])
def test_traces_are_set_aside(kind, tmp_path, caplog):
  path = tmp_path / "traces.json"
  trace = {"index": 0, "strength": 0.0, "num_samples": 1, "setting": {}, "without_noise": [1.0]}
  records.write_traces(tmp_path, 123, [{**trace, "losses": [1.0, None]}])
  assert records.read_traces(tmp_path)[0] == 123
  others = {"no traces": {}, "no losses": {"traces": [trace]}}
  others["words"] = {"traces": [{**trace, "losses": ["one"]}]}
  if kind in others:
    path.write_text(json.dumps(others[kind]))
  else:
    BROKEN_JSON[kind][0](path)
  assert records.read_traces(tmp_path) == (0, [])
  assert not path.exists() and len(caplog.records) == 1


@pytest.mark.parametrize(
  "content, where",
  [
    ({"a": {"b": [1.0, float("nan")]}}, "a, b, number 1 is nan"),
    ({"a": np.float32("inf")}, "a is inf"),
    ({"a": np.zeros(3)}, "a is of type ndarray"),
    ({"a": {3: 1}}, "a has the name 3"),
  ],
)
def test_json_that_cannot_be_written(content, where, tmp_path):
  with pytest.raises(ValueError, match=f"found.json would hold, {where}"):
    records.write_json(tmp_path / "found.json", content)
  assert not os.listdir(tmp_path)


def test_what_a_manifest_lacks_is_its_fault(tmp_path):
  records.check_manifest(tmp_path, {"strength": [0.0]}, {})
  records.write_accuracy(tmp_path, {"0": {"accuracy": 0.5}})
  records.Ledger(tmp_path).append(a_record())
  ledger = ledgers.load(tmp_path)
  with pytest.raises(ValueError, match="manifest.json does not say stddev: restore it"):
    ledger.request["stddev"]
