"""Ledgers that are damaged or of others, and numbers that are none."""

import json

import numpy as np
import pytest
from test_records import a_record

from orjax import datasets
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
