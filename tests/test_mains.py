"""The mains as a user runs them: twice, killed, on other devices, with bad flags."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
_SMALL = ["--num_images=5", "--variance=0", "--variance=1e-4", "--max_queries=6000",
          "--max_steps=60", "--slots_per_device=2", "--num_pictures=2"]


def _command(main, *flags):
  return [sys.executable, str(ROOT / "experiments" / f"{main}.py"), *map(str, flags)]


def _environment(num_devices=1):
  flags = f"--xla_force_host_platform_device_count={num_devices}"
  return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def attack(digits_model, tmp_path_factory):
  """Runs the black-box main on the small digits model; returns what it printed."""
  cache = tmp_path_factory.mktemp("cache")
  shared = [f"--model_dir={digits_model[2].parent}", f"--compilation_cache={cache}"]

  def run(out, *flags, check=True, num_devices=1, wait=True):
    process = subprocess.Popen(
        _command("blackbox_attacks", *shared, *_SMALL, f"--out={out}", *flags),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=_environment(num_devices))
    if not wait:
      return process
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0 or not check, output
    return output if check else (process.returncode, output)

  return run


@pytest.fixture(scope="module")
def undisturbed(attack, tmp_path_factory):
  out = tmp_path_factory.mktemp("undisturbed")
  return out, attack(out)


def _ledger(out):
  return sorted(b"".join(path.read_bytes() for path in sorted(out.glob("records*.jsonl")))
                .splitlines())


def test_output_and_files(undisturbed):
  out, output = undisturbed
  assert "clean success" in output and "figure2.png" in output
  assert len(_ledger(out)) == 10
  record = json.loads(_ledger(out)[0])
  assert record["num_queries"] <= 6000 and record["dataset"] == "digits"
  assert (out / "figure2.png").stat().st_size > 10_000
  assert (out / "pictures.png").stat().st_size > 5_000
  assert "clean success" in (out / "table.md").read_text()
  manifest = json.loads((out / "manifest.json").read_text())
  assert manifest["asked"]["variance"] == [0.0, 1e-4]
  assert manifest["about"]["versions"]["jax"]


def test_second_time_it_does_no_work(undisturbed, attack):
  out, output = undisturbed
  before = _ledger(out)
  again = attack(out)
  assert "10 trials, 10 of them done before" in again
  table = lambda text: text[text.index("| attack"):]
  assert table(again) == table(output) and _ledger(out) == before


def test_killed_at_any_moment_it_ends_the_same(undisturbed, attack, tmp_path):
  killed = 0
  for seconds in (4, 5, 6, 7, 8, 9):
    process = attack(tmp_path, "--chunk=3", wait=False)
    try:
      process.wait(seconds)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      killed += 1
    process.communicate()
  attack(tmp_path, "--chunk=3")
  assert killed and _ledger(tmp_path) == _ledger(undisturbed[0])


def test_killed_half_way_through_the_ledger(undisturbed, attack, tmp_path):
  """Not left to luck: killed as soon as the ledger has a line."""
  process = attack(tmp_path, "--chunk=1", wait=False)
  deadline = time.monotonic() + 120
  while not _ledger(tmp_path) and time.monotonic() < deadline:
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  path = tmp_path / "records.jsonl"
  assert 0 < len(_ledger(tmp_path)) < 10
  with open(path, "ab") as file:
    file.write(b'{"dataset": "dig')  # and the power was cut
  attack(tmp_path)
  assert _ledger(tmp_path) == _ledger(undisturbed[0])


def test_eight_devices_and_another_chunk_give_the_same_bytes(undisturbed, attack, tmp_path):
  attack(tmp_path, "--chunk=17", num_devices=8)
  assert _ledger(tmp_path) == _ledger(undisturbed[0])


def test_two_processes_give_the_same_bytes(undisturbed, attack, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [attack(tmp_path, f"--coordinator=127.0.0.1:{port}", "--num_processes=2",
                      f"--process_id={i}", wait=False) for i in (0, 1)]
  outputs = [process.communicate(timeout=600)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  assert "clean success" in outputs[0] and "clean success" not in outputs[1]
  assert {p.name for p in tmp_path.glob("*.jsonl")} == {
      "records-0.jsonl", "records-1.jsonl"}
  assert all(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
  assert _ledger(tmp_path) == _ledger(undisturbed[0])


@pytest.mark.parametrize("flags, message", [
    (["--variance=-1"], "--variance=-1 is no variance: pass 0 or more"),
    (["--variance=nan"], "--variance=nan is no variance"),
    (["--dataset=svhn"], "value should be one of <digits|mnist|cifar10>"),
    (["--dataset=mnist", "--data_dir=/nonexistent"], "mnist is not under /nonexistent"),
    (["--num_images=361"], "num_images=361 is more than the"),
    (["--num_images=0"], "num_images"),
    (["--max_queries=3"], "max_queries=3 does not pay for one step"),
    (["--num_coordinates=65"], "num_coordinates=65 is more than the 64 entries"),
    (["--out=/proc/nowhere"], "cannot write to /proc/nowhere"),
    (["--varianze=1"], "Unknown command line flag 'varianze'"),
    (["--spacing=nan"], "--spacing=nan must be above 0 and finite"),
    (["--trade_off=0"], "--trade_off=0 must be above 0"),
    (["--seed=4294967296"], "--seed=4294967296"),
    (["--process_id=1"], "need --coordinator"),
    (["surplus"], "unexpected argument 'surplus'"),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_bad_input_is_one_sentence(attack, tmp_path, flags, message):
  code, output = attack(tmp_path, *flags, check=False)
  assert code == 1 and message in output and "Traceback" not in output
  assert output.startswith("error: ") and len(output.splitlines()) == 1
  assert not _ledger(tmp_path)


def test_folder_of_another_request_is_refused(undisturbed, attack):
  code, output = attack(undisturbed[0], "--seed=1", check=False)
  assert code == 1 and "holds records for seed=0, not 1" in output


def test_checkpoint_of_another_model_is_refused(digits_model, attack, tmp_path):
  shutil.copytree(digits_model[2], tmp_path / "models" / "convnet_mnist")
  (tmp_path / "mnist").mkdir()
  np.savez(tmp_path / "mnist" / "orjax-test.npz", labels=np.zeros(9, np.int32),
           images=np.zeros((9, 28, 28, 1), np.uint8))
  code, output = attack(
      tmp_path / "out", "--dataset=mnist", f"--data_dir={tmp_path}",
      f"--model_dir={tmp_path / 'models'}", check=False)
  assert code == 1 and "has model='convnet_digits', not 'convnet_mnist'" in output
  run = subprocess.run(
      _command("train_classifier", "--dataset=digits", "--seed=3",
               f"--model_dir={digits_model[2].parent}"),
      capture_output=True, text=True, env=_environment(), check=False)
  assert run.returncode == 1 and "has seed=0, not 3" in run.stderr, run.stderr


def test_figures_from_the_ledger_alone(undisturbed, tmp_path):
  run = subprocess.run(
      _command("plot_figures", f"--records={undisturbed[0]}", f"--figures={tmp_path}"),
      capture_output=True, text=True, check=True)
  assert str(tmp_path / "figure2.png") in run.stdout
  assert (tmp_path / "figure2.png").read_bytes() == (
      undisturbed[0] / "figure2.png").read_bytes()
  run = subprocess.run(_command("plot_figures", f"--records={tmp_path / 'none'}"),
                       capture_output=True, text=True, check=False)
  assert run.returncode == 1 and "error: " in run.stderr
