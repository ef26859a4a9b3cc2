"""Training and white-box mains as a user runs them: killed, shared, diagnosed, misled."""

import itertools
import json
import shutil
import signal
import socket
import subprocess
import time

import jax
import numpy as np
import pytest
import test_mains

from orjax import checkpoints
from orjax import training

_STEPS = 120
_NAME = "convnet_digits-or1"


@pytest.fixture(scope="module")
def train(tmp_path_factory):
  """Starts the training main on digits; returns the process."""
  cache = tmp_path_factory.mktemp("cache")

  def start(folder, *flags, num_devices=1):
    return subprocess.Popen(
      test_mains._command(
        "train_classifier",
        "--defense=or",
        "--stddev=1",
        f"--num_steps={_STEPS}",
        "--seconds_between_saves=0",
        f"--model_dir={folder}",
        f"--compilation_cache={cache}",
        *flags,
      ),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=test_mains._environment(num_devices),
    )

  return start


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("undisturbed")
  process = train(folder)
  output, _ = process.communicate(timeout=600)
  assert process.returncode == 0, output
  assert "test accuracy" in output and f"after {_STEPS} steps" in output
  return folder


def _metrics(folder):
  path = folder / _NAME / training.METRICS
  lines = path.read_text().splitlines() if path.exists() else []
  return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]


def test_killed_three_times_it_ends_in_the_same_bits(train, trained, tmp_path):
  for wanted in (2, 5, 8):  # as soon as so many lines of metrics are there
    process = train(tmp_path)
    deadline = time.monotonic() + 300
    while len(_metrics(tmp_path)) < wanted and time.monotonic() < deadline:
      time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = checkpoints.load(str(tmp_path / _NAME))
    assert process.returncode == -signal.SIGKILL
    assert saved is None or not saved.meta["finished"]
  process = train(tmp_path)
  output, _ = process.communicate(timeout=600)
  assert process.returncode == 0, output
  whole, killed = (checkpoints.load(str(folder / _NAME)) for folder in (trained, tmp_path))
  jax.tree.map(np.testing.assert_array_equal, whole.state, killed.state)
  assert whole.meta == killed.meta and whole.meta["num_steps"] == _STEPS
  assert _metrics(trained) == _metrics(tmp_path) and len(_metrics(trained)) == _STEPS // 10


def test_two_processes_train_together(train, trained, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    train(tmp_path, f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={i}")
    for i in (0, 1)
  ]
  outputs = [process.communicate(timeout=600)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  losses = [[line["loss"] for line in _metrics(folder)] for folder in (trained, tmp_path)]
  np.testing.assert_allclose(losses[1][:5], losses[0][:5], rtol=1e-4)
  assert checkpoints.load(str(tmp_path / _NAME)).meta["finished"]


def test_diagnosis_of_a_masked_network(digits_model, tmp_path):
  models = digits_model[2].parent  # holds the undefended twin
  command = test_mains._command(
    "whitebox_attacks",
    "--attack=pgd",
    "--defense=or",
    "--num_epochs=50",
    "--num_images=10",
    f"--model_dir={models}",
    f"--out={tmp_path}",
    "--diagnose",
    f"--compilation_cache={tmp_path / 'cache'}",
  )
  found = subprocess.run(
    command, capture_output=True, text=True, check=False, env=test_mains._environment()
  )
  assert found.returncode == 0, found.stderr
  sentence = found.stdout[found.stdout.index("\nMasked: PGD(Xent) leaves an accuracy of 0.9") :]
  assert "the worst case of all 11 0.0" in sentence and "hidden, not defended" in sentence
  lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
  assert len(lines) == 110
  published = [
    line
    for line in lines
    if line["setting"]
    == {"loss": "xent", "steps": 10, "restarts": 1, "float64": False, "substitute": None}
  ]
  assert len(published) == 10 and np.mean([r["zero_gradients"] for r in published]) > 0.9
  assert {line["setting"]["substitute"] for line in lines} == {None, "convnet_digits"}
  assert (tmp_path / "under_attack.png").stat().st_size > 10_000
  assert "Masked" in (tmp_path / "table.md").read_text()


def test_transfers_follow_substitutes_of_another_seed(digits_model, tmp_path):
  models = tmp_path / "models"
  shutil.copytree(digits_model[2], models / "convnet_digits")
  found = subprocess.run(
    test_mains._command(
      "whitebox_attacks",
      "--attack=pgd",
      "--num_steps=330",
      "--num_images=5",
      "--substitute_stddev=0",
      "--substitute_stddev=1",
      "--loss=cw",
      "--loss=cw_unbounded",
      f"--model_dir={models}",
      f"--out={tmp_path / 'out'}",
    ),
    capture_output=True,
    text=True,
    check=False,
    env=test_mains._environment(),
  )
  assert found.returncode == 0, found.stderr
  lines = [
    json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()
  ]
  substitutes = ["convnet_digits-substitute", "convnet_digits-or1-substitute"]
  assert {(line["setting"]["loss"], line["setting"]["substitute"]) for line in lines} == set(
    itertools.product(["cw", "cw_unbounded"], substitutes)
  )
  assert all(line["num_steps"] == 11 for line in lines), "a transfer takes all its steps"
  assert [checkpoints.load(str(models / name)).meta["seed"] for name in substitutes] == [2**31] * 2
  assert checkpoints.load(str(models / "convnet_digits")).meta["seed"] == 0
  assert (tmp_path / "out" / "figure17.png").stat().st_size > 5_000


def test_diagnosis_of_a_random_network_averages(tmp_path):
  found = subprocess.run(
    test_mains._command(
      "whitebox_attacks",
      "--attack=pgd",
      "--defense=or",
      "--noise_location=every",
      "--stddev=0.1",
      "--num_steps=100",
      "--num_images=4",
      f"--model_dir={tmp_path}",
      f"--out={tmp_path / 'out'}",
      "--diagnose",
    ),
    capture_output=True,
    text=True,
    check=False,
    env=test_mains._environment(),
  )
  assert found.returncode == 0, found.stderr
  lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
  attacks = {
    (line["num_samples"], line["setting"]["loss"], line["setting"]["steps"])
    for line in map(json.loads, lines)
  }
  assert {(20, "xent", 10), (20, "cw", 10), (1, "xent", 200)} <= attacks
  assert not {loss for _, loss, _ in attacks} & {"xent_by_stddev"}
  assert "worst case of all 10 " in found.stdout


@pytest.mark.parametrize(
  "flags, message",
  [
    (
      ["--num_steps=110"],
      "convnet_digits was trained for 330 steps, not 110: leave --num_steps "
      "out, or train it on with train_classifier.py",
    ),
    (["--num_epochs=50"], "was trained for 330 steps, not 550: leave --num_epochs out"),
    (["--batch_size=64"], "was trained with --batch_size=128, not 64: leave it out"),
    (
      ["--num_epochs=3", "--model=own.py:factory"],
      "--num_epochs is about networks that orjax trains: leave it out",
    ),
  ],
)
def test_flags_of_another_training_are_refused(flags, message, digits_model, tmp_path):
  found = subprocess.run(
    test_mains._command(
      "whitebox_attacks",
      f"--model_dir={digits_model[2].parent}",
      f"--out={tmp_path / 'out'}",
      *flags,
    ),
    capture_output=True,
    text=True,
    check=False,
    env=test_mains._environment(),
  )
  assert found.returncode == 1 and found.stderr.startswith("error: ")
  assert message in found.stderr and "Traceback" not in found.stderr


@pytest.mark.parametrize(
  "main, flags, message",
  [
    (
      "train_classifier",
      ["--defense=or", "--stddev=-1"],
      "--stddev=-1 is no standard deviation: pass 0 or more",
    ),
    ("train_classifier", ["--num_steps=0"], "--num_steps=0 must be at least 1"),
    (
      "train_classifier",
      ["--batch_size=60", "--num_steps=1"],
      "a batch of 60 images does not divide over 8 devices",
    ),
    (
      "train_classifier",
      ["--network=resnet32"],
      "orjax trains no resnet32 for digits: pass --network=convnet",
    ),
    ("train_classifier", ["--noise_location=every"], "--noise_location needs --defense=or"),
    (
      "whitebox_attacks",
      ["--attack=pgd", "--max_steps=0"],
      "--max_steps=0: 0 is not a positive integer",
    ),
    (
      "whitebox_attacks",
      ["--attack=pgd", "--loss=xent_by_stddev"],
      "--loss=xent_by_stddev needs --defense=or and its --stddev",
    ),
    ("whitebox_attacks", ["--float64"], "--float64 is for --attack=pgd: leave it out"),
  ],
)
def test_bad_flags_are_one_sentence(main, flags, message, tmp_path):
  out = [f"--out={tmp_path / 'out'}"] if main == "whitebox_attacks" else []
  found = subprocess.run(
    test_mains._command(main, f"--model_dir={tmp_path / 'models'}", *out, *flags),
    capture_output=True,
    text=True,
    check=False,
    env=test_mains._environment(8),
  )
  assert found.returncode == 1 and found.stderr.startswith("error: ")
  assert message in found.stderr and "Traceback" not in found.stderr
  assert not (tmp_path / "models").exists() and not (tmp_path / "out").exists()
