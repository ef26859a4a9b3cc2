"""Ledgers that survive, manifests that refuse, intervals from the books."""

import json
import subprocess
import sys

import numpy as np
import pytest

from orjax import records


def a_record(**changes):
  record = {
    "dataset": "digits",
    "model": "m",
    "defense": "output_noise",
    "variance": 1e-4,
    "attack": "zoo",
    "targeted": False,
    "num_samples": 1,
    "seed": 0,
    "run": 0,
    "index": 3,
    "label": 1,
    "target": None,
    "claimed": True,
    "clean_success": True,
    "defended_success_rate": 0.5,
    "noise_error_rate": 0.0,
    "num_steps": 7,
    "num_queries": 70,
    "l2": 1.5,
    "linf": 0.5,
    "zero_gradients": 0.0,
    "setting": {},
  }
  return {**record, **changes}


def test_ledger_appends_and_reads_back(tmp_path):
  ledger = records.Ledger(tmp_path)
  for index in range(3):
    ledger.append(a_record(index=index))
  again = records.Ledger(tmp_path)
  assert again.records == [a_record(index=i) for i in range(3)] == ledger.records
  with pytest.raises(ValueError, match="has the fields"):
    ledger.append({"l2": 1})


def test_torn_last_line_is_dropped_and_written_again(tmp_path):
  ledger = records.Ledger(tmp_path)
  ledger.append(a_record(index=0))
  ledger.append(a_record(index=1))
  path = tmp_path / "records.jsonl"
  content = path.read_bytes()
  for cut in (1, 5, len(content) // 2 - 1):
    path.write_bytes(content[:-cut])
    assert records.read(tmp_path) == [a_record(index=0)]
    repaired = records.Ledger(tmp_path)
    repaired.append(a_record(index=1))
    assert path.read_bytes() == content


def test_bad_line_in_the_middle_is_an_error(tmp_path):
  (tmp_path / "records.jsonl").write_text("{}\n" + json.dumps(a_record()) + "\n")
  with pytest.raises(ValueError, match="line 1 of"):
    records.read(tmp_path)


def test_ledgers_of_processes_are_merged(tmp_path):
  for process in (0, 1):
    ledger = records.Ledger(tmp_path, process, 2)
    ledger.append(a_record(index=process))
  assert len(records.read(tmp_path)) == 2
  # One process later knows of both, and does not count a trial twice.
  single = records.Ledger(tmp_path)
  assert len(single.records) == 2
  single.append(a_record(index=1))
  assert len(records.read(tmp_path)) == 2


def test_manifest_refuses_another_request(tmp_path):
  records.check_manifest(tmp_path, {"seed": 0, "variance": [0.0, 1e-4]}, {})
  records.check_manifest(tmp_path, {"seed": 0, "variance": [0.0, 1e-4]}, {"other": 1})
  with pytest.raises(ValueError, match="holds records for seed=0, not 1"):
    records.check_manifest(tmp_path, {"seed": 1, "variance": [0.0, 1e-4]}, {})


def test_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="cannot write to"):
    records.make_folder(tmp_path / "file" / "out")
  with pytest.raises(FileNotFoundError, match="has no manifest.json"):
    records.read_json(tmp_path, "manifest.json")


@pytest.mark.parametrize(
  "successes, trials, interval",
  [
    (0, 10, (0.0, 0.2775)),
    (5, 10, (0.2366, 0.7634)),
    (10, 10, (0.7225, 1.0)),
    (81, 263, (0.2553, 0.3662)),
    (0, 0, (0.0, 1.0)),
  ],
)
def test_wilson(successes, trials, interval):
  """Newcombe (1998), table I, method 3, for 81 of 263."""
  np.testing.assert_allclose(records.wilson(successes, trials), interval, atol=6e-5)


def test_run_error():
  values, runs = [1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 2, 2]
  np.testing.assert_allclose(records.run_error(values, runs), 0.5 / np.sqrt(3))
  assert records.run_error([1, 0], [0, 0]) is None


def test_summary():
  members = [
    a_record(
      index=i,
      claimed=True,
      clean_success=i < 2,
      l2=float(i + 1),
      num_queries=10 * i,
      noise_error_rate=0.25,
    )
    for i in range(4)
  ]
  summary = records.summarise(members)
  assert summary["claimed"] == 1 and summary["clean_success"] == 0.5
  assert summary["l2"] == 1.5  # over the two that fool the clean model
  assert summary["median_queries"] == 15 and summary["noise_error_rate"] == 0.25
  low, high = summary["noise_error_rate_interval"]
  assert low < 0.25 < high
  assert records.summarise([a_record(clean_success=False)])["l2"] is None


def test_pictures_accumulate(tmp_path):
  records.add_pictures(tmp_path, 0, {"a": np.ones(3)})
  records.add_pictures(tmp_path, 0, {"b": np.zeros(2)})
  records.add_pictures(tmp_path, 1, {"c": np.zeros(2)})
  assert set(records.read_pictures(tmp_path)) == {"a", "b", "c"}
  (tmp_path / "pictures-7.npz").write_bytes(b"torn")
  assert set(records.read_pictures(tmp_path)) == {"a", "b", "c"}


def test_readers_import_no_jax():
  code = (
    "import sys; sys.path.insert(0, 'experiments'); import plot_figures, tables; "
    "assert 'jax' not in sys.modules, 'jax'; "
    "assert 'tensorflow_datasets' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
