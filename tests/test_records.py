"""Ledgers that survive, manifests that refuse, intervals from the books."""

import json

import numpy as np
import pytest

from orjax import records
from orjax.runner import Outcome
from orjax.runner import Task


def a_record(**changes):
  record = {
    "dataset": "digits",
    "model": "m",
    "trained_with": "none",
    "defense": "output_noise",
    "strength": 1e-4,
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
  for cut in (2, 5, len(content) // 2 - 1):
    path.write_bytes(content[:-cut])
    assert records.read(tmp_path) == [a_record(index=0)]
    repaired = records.Ledger(tmp_path)
    repaired.append(a_record(index=1))
    assert path.read_bytes() == content


def test_a_whole_last_line_that_lacks_its_end_is_kept(tmp_path):
  ledger = records.Ledger(tmp_path)
  ledger.append(a_record(index=0))
  ledger.append(a_record(index=1))
  path = tmp_path / "records.jsonl"
  path.write_bytes(path.read_bytes()[:-1])  # as some editors do
  assert records.read(tmp_path) == ledger.records
  records.Ledger(tmp_path).append(a_record(index=2))
  assert [record["index"] for record in records.read(tmp_path)] == [0, 1, 2]


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


def an_old_record(**changes):
  """As ledgers were written that knew one defense."""
  record = a_record(**changes)
  record["variance"] = record.pop("strength")
  del record["trained_with"]
  return {**record, "defense": "output_noise"}


def an_old_folder(path, record, *, about=None, **asked):
  path.mkdir()
  asked = {"attack": record["attack"], "variance": [record["variance"]], "num_samples": 1} | asked
  records.write_json(path / "manifest.json", {"asked": asked, "about": about or {"devices": []}})
  (path / "records.jsonl").write_text(json.dumps(record) + "\n")
  return path


def test_a_line_is_the_fields_in_their_order(tmp_path):
  records.Ledger(tmp_path).append(a_record())
  assert (tmp_path / "records.jsonl").read_text() == (
    '{"dataset": "digits", "model": "m", "trained_with": "none", "defense": "output_noise", '
    '"strength": 0.0001, "attack": "zoo", "targeted": false, "num_samples": 1, "seed": 0, '
    '"run": 0, "index": 3, "label": 1, "target": null, "claimed": true, "clean_success": true, '
    '"defended_success_rate": 0.5, "noise_error_rate": 0.0, "num_steps": 7, "num_queries": 70, '
    '"l2": 1.5, "linf": 0.5, "zero_gradients": 0.0, "setting": {}}\n'
  )


def test_what_was_chosen_is_the_last_field_where_there_is_any(tmp_path):
  ledger = records.Ledger(tmp_path)
  ledger.append({**a_record(), "chosen": {"dlr": np.bool_(True), "length": np.float32(0.5)}})
  assert records.read(tmp_path)[0]["chosen"] == {"dlr": True, "length": 0.5}
  assert list(records.read(tmp_path)[0]) == [*records.FIELDS, "chosen"]
  for chosen in ([], {"dlr": "yes"}, {"length": None}):
    with pytest.raises(ValueError, match="its chosen is .*, not names and numbers"):
      ledger.append(a_record(index=4, chosen=chosen))
  task = Task({**a_record(), "setting": {}}, np.zeros((2, 2, 1), np.float32), 1, 0, 3, {})
  outcome = Outcome(task, task.image, True, 7, 70, 0.0, True, 0.5, 0.0, {"length": 0.5})
  assert records.record(outcome)["chosen"] == {"length": 0.5}
  assert tuple(records.record(outcome._replace(chosen={}))) == records.FIELDS


def test_old_ledgers_read_as_new_ones(tmp_path):
  noisy = an_old_folder(tmp_path / "noisy", an_old_record(), defense="or")
  assert records.read(noisy) == [a_record(trained_with="or")]
  assert list(records.read(noisy)[0]) == list(records.FIELDS)
  assert records.read_manifest(noisy) == {
    "schema": 2,
    "request": {
      "attack": "zoo",
      "num_samples": [1],
      "trained_with": "or",
      "defense": "output_noise",
      "strength": [1e-4],
    },
    "about": {"devices": [], "axis": "noise variance"},
  }
  # White-box PGD looked at logits, to which nothing was added.
  pgd = an_old_record(attack="pgd", strength=0.0)
  folder = an_old_folder(tmp_path / "pgd", pgd, defense="pgd+or", noise_location="logits")
  assert records.read(folder) == [
    a_record(attack="pgd", trained_with="pgd+or", defense="none", strength=0.0)
  ]
  # Without its manifest a ledger still reads, and of a user's own model no training is known.
  (folder / "manifest.json").unlink()
  assert records.read(folder)[0]["trained_with"] is None
  own = an_old_folder(tmp_path / "own", pgd, about={"training": {}}, defense="none")
  assert records.read(own)[0]["trained_with"] is None
  assert "trained_with" not in records.read_manifest(own)["request"]


def test_old_noise_inside_a_network_is_a_defense_with_a_strength(tmp_path):
  old = an_old_record(attack="pgd", strength=0.0)
  inside = {"defense": "or", "noise_location": "every", "stddev": 0.5}
  folder = an_old_folder(tmp_path / "inside", old, test_noise=True, **inside)
  records.write_json(folder / "accuracy.json", {"0": {"accuracy": 0.9}})
  new = a_record(attack="pgd", trained_with="or", defense="inner_noise", strength=0.5)
  assert records.read(folder) == [new]
  assert records.read_accuracy(folder) == {"0.5": {"accuracy": 0.9}}
  manifest = records.read_manifest(folder)
  assert manifest["request"]["strength"] == [0.5] and "test_noise" not in manifest["request"]
  assert manifest["about"]["axis"] == "stddev inside the network"
  off = an_old_folder(tmp_path / "off", old, test_noise=False, **inside)
  assert records.read(off)[0]["defense"] == "none"


def test_an_old_folder_goes_on_in_the_new_form(tmp_path):
  """What is there is not run again, and new lines stand beside old ones."""
  folder = an_old_folder(tmp_path / "old", an_old_record())
  ledger = records.Ledger(folder)
  assert [records.identity(r) for r in ledger.records] == [records.identity(a_record())]
  ledger.append(a_record(index=4))
  assert [record["index"] for record in records.read(folder)] == [3, 4]
  request = {"attack": "zoo", "defense": "output_noise", "strength": [1e-4], "num_samples": [1]}
  records.check_manifest(folder, {**request, "trained_with": None}, {})
  with pytest.raises(ValueError, match=r"for strength=\[0.0001\], not \[0.1\]"):
    records.check_manifest(folder, {**request, "strength": [0.1]}, {})


def test_manifest_refuses_another_request(tmp_path):
  records.check_manifest(tmp_path, {"seed": 0, "strength": [0.0, 1e-4]}, {"axis": "stddev"})
  assert records.read_json(tmp_path, "manifest.json") == {
    "schema": 2,
    "request": {"seed": 0, "strength": [0.0, 1e-4]},
    "about": {"axis": "stddev"},
  }
  records.check_manifest(tmp_path, {"seed": 0, "strength": (0.0, 1e-4)}, {"other": 1})
  with pytest.raises(ValueError, match="holds records for seed=0, not 1: pass another --out"):
    records.check_manifest(tmp_path, {"seed": 1, "strength": [0.0, 1e-4]}, {})
  with pytest.raises(ValueError, match=r"for strength=\[0.0, 0.0001\], not \[0.0\]"):
    records.check_manifest(tmp_path, {"seed": 0, "strength": [0.0]}, {})


def test_a_manifest_says_who_continues(tmp_path):
  gpu = {"devices": ["gpu"], "versions": {"jax": "1"}, "axis": "stddev"}
  cpu = {"devices": ["cpu"], "versions": {"jax": "1"}, "command": ["again"]}
  records.check_manifest(tmp_path, {"seed": 0}, gpu)
  records.note_continued(tmp_path, {**gpu, "command": ["again"]}, 3)
  assert records.read_manifest(tmp_path)["about"] == gpu, "the same continues"
  for _ in range(2):
    records.note_continued(tmp_path, cpu, 64)
  records.note_continued(tmp_path, gpu, 70)
  made_by = lambda about: {name: about[name] for name in ("devices", "versions")}
  assert records.read_manifest(tmp_path)["about"] == {
    **gpu,
    "continued": [{"num_records": 64, **made_by(cpu)}, {"num_records": 70, **made_by(gpu)}],
  }
  records.check_manifest(tmp_path, {"seed": 0}, {})


def test_a_new_flag_locks_no_old_folder(tmp_path):
  records.check_manifest(tmp_path, {"seed": 0, "loss": ["cw"], "extinct": None}, {})
  request = {"seed": 0, "loss": "cw", "start": "image", "sizes": [], "clips": False}
  records.check_manifest(tmp_path, request, {}, {"start": "image"})
  with pytest.raises(ValueError, match="holds records for start='image', not 'far'"):
    records.check_manifest(tmp_path, {**request, "start": "far"}, {}, {"start": "image"})
  with pytest.raises(ValueError, match="holds records for clips=None, not True"):
    records.check_manifest(tmp_path, {**request, "clips": True}, {}, {"start": "image"})
  # A default that is something: nothing said is not the same as no.
  with pytest.raises(ValueError, match="holds records for stops=True, not False"):
    records.check_manifest(
      tmp_path, {"seed": 0, "loss": ["cw"], "stops": False}, {}, {"stops": True}
    )


def test_what_a_folder_says_and_a_request_does_not(tmp_path):
  records.check_manifest(tmp_path, {"seed": 0, "radius": 0.3, "norm": "linf", "trace": 0}, {})
  with pytest.raises(ValueError, match="holds records for norm='linf', not None"):
    records.check_manifest(tmp_path, {"seed": 0, "radius": 0.3}, {})
  records.check_manifest(tmp_path, {"seed": 0, "radius": 0.3}, {}, {"norm": "linf"})
  with pytest.raises(ValueError, match="holds records for norm='linf', not 'l2'"):
    records.check_manifest(tmp_path, {"seed": 0, "radius": 0.3}, {}, {"norm": "l2"})


def test_a_manifest_that_cannot_be_read(tmp_path):
  with pytest.raises(FileNotFoundError, match="has no manifest.json: pass the --out"):
    records.read_manifest(tmp_path)
  for content, sentence in (
    ('{"schema": 3, "wish": {}}', "by a newer orjax .*schema 3, this one knows 2.*: update orjax"),
    ('{"found": []}', "is about no records: pass another --out"),
    ('{"schema": 2, "req', "manifest.json is damaged"),
  ):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
      records.check_manifest(tmp_path, {"seed": 0}, {})


def test_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OSError, match="cannot write to"):
    records.make_folder(tmp_path / "file" / "out")


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


def test_a_picture_is_named_by_its_trial():
  assert records.picture_name(a_record()) == "zoo-False-0.0001-1-3-None"
  record = a_record(strength=0.0, target=2, setting={"spacing": 0.1})
  assert records.picture_name(record) == "zoo-False-0.0-1-3-2-0.1"
