"""The attack mains as a user runs them: twice, killed, on other devices, with bad input."""

import json
import shutil
import signal
import socket
import time

import mains
import numpy as np
import pytest

from harness.speed import attacks as speed_attacks
from orjax import records


@pytest.fixture(scope="module")
def start(shared):
  """Starts the black-box main on the small digits model as a process."""
  return lambda out, *flags, num_devices=1: mains.start(
    "blackbox_attacks", *shared, *mains.SMALL, f"--out={out}", *flags, num_devices=num_devices
  )


@pytest.fixture(scope="module")
def attack(start):
  """The same, to its end; returns what it printed."""

  def run(out, *flags, num_devices=1):
    code, output = mains.finish(start(out, *flags, num_devices=num_devices))
    assert code == 0, output
    return output

  return run


@pytest.fixture(scope="module")
def undisturbed(attack, tmp_path_factory):
  out = tmp_path_factory.mktemp("undisturbed")
  return out, attack(out)


def test_output_and_files(undisturbed):
  out, output = undisturbed
  assert "clean success" in output and "figure2.png" in output
  found = records.read(str(out))
  assert len(found) == 10
  assert {(r["dataset"], r["defense"], r["trained_with"]) for r in found} == {
    ("digits", "output_noise", "none")
  }
  assert {r["strength"] for r in found} == {0.0, 1e-4}
  assert all(r["num_queries"] <= 3000 for r in found)
  assert {"figure2.png", "pictures.png", "table.md"} <= {path.name for path in out.iterdir()}
  assert "| noise variance |" in (out / "table.md").read_text()
  manifest = json.loads((out / "manifest.json").read_text())
  assert manifest["request"]["strength"] == [0.0, 1e-4]
  assert manifest["about"]["versions"]["jax"] and manifest["about"]["axis"] == "noise variance"


def test_second_time_it_does_no_work(undisturbed, attack):
  out, output = undisturbed
  before = mains.ledger(out)
  again = attack(out)
  assert "10 trials, 10 of them done before" in again
  table = lambda text: text[text.index("| attack") :]
  assert table(again) == table(output) and mains.ledger(out) == before


def test_killed_again_and_again_it_ends_the_same(undisturbed, start, attack, tmp_path):
  """Not left to luck: killed as soon as the ledger has so many lines."""
  for wanted in (1, 5):
    process = start(tmp_path, "--chunk=1")
    deadline = time.monotonic() + 120
    while len(mains.ledger(tmp_path)) < wanted and time.monotonic() < deadline:
      time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert wanted <= len(mains.ledger(tmp_path)) < 10
  with open(tmp_path / "records.jsonl", "ab") as file:
    file.write(b'{"dataset": "dig')  # and the power was cut
  attack(tmp_path)
  assert mains.ledger(tmp_path) == mains.ledger(undisturbed[0])


def test_eight_devices_and_another_chunk_give_the_same_bytes(undisturbed, attack, tmp_path):
  attack(tmp_path, "--chunk=17", num_devices=8)
  assert mains.ledger(tmp_path) == mains.ledger(undisturbed[0])


def test_two_processes_give_the_same_bytes(undisturbed, start, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    start(tmp_path, f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={i}")
    for i in (0, 1)
  ]
  (codes, outputs) = zip(*map(mains.finish, processes))
  assert codes == (0, 0), outputs
  assert "clean success" in outputs[0] and "clean success" not in outputs[1]
  assert {p.name for p in tmp_path.glob("*.jsonl")} == {"records-0.jsonl", "records-1.jsonl"}
  assert all(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
  assert mains.ledger(tmp_path) == mains.ledger(undisturbed[0])


def test_an_error_is_one_sentence_and_exit_code_1(tmp_path):
  code, output = mains.finish(
    mains.start("blackbox_attacks", "--variance=-1", f"--out={tmp_path / 'out'}")
  )
  assert code == 1
  assert output == "error: --variance=-1 must be at least 0 and finite\n"
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "flags, message",
  [
    (["--dataset=mnist", "--data_dir=/nonexistent"], "mnist is not under /nonexistent"),
    (["--num_images=361"], "num_images=361 is more than the"),
    (["--max_queries=3"], "max_queries=3 does not pay for one step"),
    (["--num_coordinates=65"], "num_coordinates=65 is more than the 64 entries"),
    (["--out=/proc/nowhere"], "cannot write to /proc/nowhere"),
    (["--model=none.py:factory"], "there is no file none.py"),
    (["--model=nothing"], "--model=nothing names no function"),
    (["--host_model=json:nothing"], "json has no function nothing"),
    (["--defense=json:dumps"], "--defense=json:dumps: the factory fails: TypeError"),
    (["--defense=builtins:dict"], "must return an orjax.threats.Defense, not dict"),
    (["--defense=inner_noise", "--strength=1"], "no place for noise"),
    (["--data=none.npz"], "there is no such file"),
    (["--num_epochs=50"], "was trained for 330 steps, not 550: leave --num_epochs out"),
    (["--num_steps=110"], "was trained for 330 steps, not 110: leave --num_steps out, or train"),
    (["--batch_size=64"], "was trained with --batch_size=128, not 64: leave it out"),
    (["--schedule=short"], "--schedule=short is of ResNets: leave it out, or pass --network="),
  ],
  ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_sentence(shared, flags, message, tmp_path):
  with pytest.raises((ValueError, OSError)) as found:
    mains.run("blackbox_attacks", shared[0], f"--out={tmp_path}", *flags)
  assert message in str(found.value) and "\n" not in str(found.value)
  assert not mains.ledger(tmp_path)


def test_folder_of_another_request_is_refused(undisturbed, shared):
  with pytest.raises(ValueError, match="holds records for seed=0, not 1"):
    mains.run("blackbox_attacks", shared[0], *mains.SMALL, f"--out={undisturbed[0]}", "--seed=1")


def test_checkpoint_of_another_model_is_refused(digits_model, tmp_path):
  shutil.copytree(digits_model[2], tmp_path / "models" / "convnet_mnist")
  (tmp_path / "mnist").mkdir()
  np.savez(
    tmp_path / "mnist" / "orjax-test.npz",
    labels=np.zeros(9, np.int32),
    images=np.zeros((9, 28, 28, 1), np.uint8),
  )
  with pytest.raises(ValueError, match="has model='convnet_digits', not 'convnet_mnist'"):
    mains.run(
      "blackbox_attacks",
      "--dataset=mnist",
      f"--data_dir={tmp_path}",
      f"--model_dir={tmp_path / 'models'}",
      f"--out={tmp_path / 'out'}",
    )
  with pytest.raises(ValueError, match="has seed=0, not 3"):
    mains.run(
      "train_classifier",
      "--dataset=digits",
      "--seed=3",
      "--batch_size=128",
      f"--model_dir={digits_model[2].parent}",
      "--num_steps=400",
    )


def test_sweep_over_spacings_and_averages_with_traces(shared, tmp_path, capsys):
  flags = (
    *mains.SMALL,
    "--num_images=1",
    "--spacing=1e-4",
    "--spacing=0.1",
    "--num_samples=2",
    "--max_steps=10",
    "--binary_search_steps=1",
    "--trace=1",
    f"--out={tmp_path}",
    shared[0],
  )
  mains.run("blackbox_attacks", *flags)
  output = capsys.readouterr().out
  assert "spacings.png" in output and "traces.png" in output
  found = records.read(str(tmp_path))
  cells = {(r["num_samples"], r["setting"]["spacing"], r["strength"]) for r in found}
  assert len(found) == len(cells) == 4
  for record in found:  # ten steps, or what the budget pays for
    assert record["num_queries"] == 65 * record["num_samples"] * record["num_steps"]
  traces = json.loads((tmp_path / "traces.json").read_text())["traces"]
  assert len(traces) == 4
  for trace in traces:
    noisy = trace["strength"] > 0
    assert len(trace["losses"]) == len(trace["without_noise"]) == 10
    assert (trace["losses"] != trace["without_noise"]) == noisy
  mains.run("blackbox_attacks", *flags)
  assert "4 trials, 4 of them done before" in capsys.readouterr().out


def test_informed_flagfiles_run_on_any_data_set(shared, tmp_path):
  folder = mains.ROOT / "experiments" / "flagfiles"
  for name in ("informed_nes", "informed_zoo"):
    size = "--num_pairs=22" if name == "informed_nes" else "--num_coordinates=22"
    mains.run(
      "blackbox_attacks",
      f"--flagfile={folder / f'{name}.flags'}",
      "--dataset=digits",
      size,
      "--num_images=2",
      "--max_steps=60",
      "--max_queries=100000",
      shared[0],
      f"--out={tmp_path / name}",
      "--num_pictures=0",
    )
    assert [r["num_queries"] for r in records.read(str(tmp_path / name))] == [65 * 3 * 60] * 2


def test_whitebox_main(shared, tmp_path, capsys):
  mains.run(
    "whitebox_attacks",
    shared[0],
    *mains.SMALL,
    "--num_samples=1",
    "--num_samples=3",
    "--variance=1e-2",
    "--max_steps=60",
    "--learning_rate=0.1",
    "--binary_search_steps=3",
    "--trade_off=1",
    f"--out={tmp_path}",
  )
  assert "averaging.png" in capsys.readouterr().out
  found = records.read(str(tmp_path))
  assert {r["attack"] for r in found} == {"carlini_wagner"} and len(found) == 30
  assert all(r["clean_success"] for r in found if not r["strength"])


def test_calibration_keeps_its_rate(shared, tmp_path, capsys):
  mains.run("calibrate", shared[0], "--misclassification_rate=0.05", f"--out={tmp_path}")
  assert "measured rate" in capsys.readouterr().out
  found = json.loads((tmp_path / "calibration.json").read_text())["found"]
  assert [each["per_image"] for each in found] == [False, True]
  for each in found:
    low, high = each["interval"]
    assert low <= 0.05 <= high and each["stddev"] > 0.01


def test_any_defense_is_calibrated_to_what_it_may_cost(shared, tmp_path, capsys):
  mains.run(
    "calibrate",
    shared[0],
    "--defense=input_noise",
    "--defense=label_only",
    f"--defense={mains.ROOT}/experiments/examples/my_defense.py:factory",
    "--accuracy_drop=0.05",
    f"--out={tmp_path}",
  )
  assert "or why not" in capsys.readouterr().out
  found = json.loads((tmp_path / "calibration.json").read_text())
  assert found["found"] == [] and len(found["strengths"]) == 3
  noise, label_only, _ = found["strengths"]
  assert 0.1 < noise["strength"] < 1 and noise["drop"] == pytest.approx(0.05, abs=0.003)
  first, last = noise["interval"]
  assert first < noise["strength"] < last
  assert label_only["strength"] is None and "it cannot be calibrated" in label_only["why"]


def test_gradient_errors_fall_with_the_spacing(shared, tmp_path, capsys):
  mains.run("gradient_error", shared[0], "--num_images=2", "--variance=1e-4", f"--out={tmp_path}")
  assert "figure9.png" in capsys.readouterr().out
  found = json.loads((tmp_path / "gradient_error.json").read_text())["errors"]
  boundary = found["at the boundary"]
  error = lambda name: np.mean(boundary[name]["errors"])
  assert error("linear margin, h = 0.0001") == pytest.approx(
    1000 * error("linear margin, h = 0.1"), rel=0.2
  )
  assert error("linear margin, h = 0.1") < (np.mean(boundary["linear margin, h = 0.1"]["true"]) / 2)


def test_theory_figures(tmp_path):
  code, output = mains.finish(
    mains.start("theory_figures", f"--out={tmp_path}", "--num_draws=20000")
  )  # in a process: it computes in float64
  assert code == 0, output
  assert {path.name for path in tmp_path.glob("*.png")} == {
    "figure1b.png",
    "misclassification.png",
    "slope_errors.png",
    "training_loss.png",
  }
  table = (tmp_path / "table.md").read_text().splitlines()
  rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table if "[" in line]
  assert len(rows) == 6
  for row in rows:  # the corrected variance keeps the wanted rate, the printed one does not
    low, high = (float(x) for x in row[5].split("[")[1].rstrip("]").split(", "))
    assert low <= float(row[1]) * 1.2 and high >= float(row[1]) * 0.8, row


def test_figures_from_the_ledger_alone(undisturbed, tmp_path):
  code, output = mains.finish(
    mains.start("plot_figures", f"--records={undisturbed[0]}", f"--out={tmp_path}")
  )
  assert code == 0 and str(tmp_path / "figure2.png") in output
  assert (tmp_path / "figure2.png").read_bytes() == (undisturbed[0] / "figure2.png").read_bytes()
  code, output = mains.finish(mains.start("plot_figures", f"--records={tmp_path / 'none'}"))
  assert code == 1 and output.startswith("error: ") and len(output.splitlines()) == 1


def test_benchmark_measures_what_is_asked_for(shared, capsys, monkeypatch):
  monkeypatch.setattr(speed_attacks, "BATCH_SIZES", (1024,))
  monkeypatch.setattr(speed_attacks, "NUM_SWEPT", 20)
  mains.run(
    "benchmark",
    shared[0],
    "--rounds=1",
    "--seconds=0.1",
    "--only=bandits",
    "--nostart_up",
    "--slots_per_device=4",
  )
  result = json.loads(capsys.readouterr().out.splitlines()[-1])
  assert [x["attack"] for x in result["attacks"]] == ["bandits"] and result["training"] == {}
  with pytest.raises(ValueError, match="--only=none is not measured: pass 'training' or one of"):
    mains.run("benchmark", "--only=none")
  with pytest.raises(ValueError, match="--only=square, l2 is not measured"):  # on digits
    mains.run("benchmark", "--only=square, l2")
  assert mains.asked("benchmark", "--dataset=mnist", "--only=square, l2").only == ["square, l2"]
