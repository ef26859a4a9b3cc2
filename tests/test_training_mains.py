"""Training and white-box mains as a user runs them: killed, shared, diagnosed, misled."""

import functools
import itertools
import json
import re
import signal
import socket
import time

import jax
import mains
import numpy as np
import pytest

from harness.classifiers import trained as trained_networks
from harness.recipes import Recipe
from harness.report import verdict
from orjax import checkpoints
from orjax import records
from orjax import training

_STEPS = 80
_NAME = "convnet_digits-or1"
_FLAGS = (
  "--trained_with=or",
  "--stddev=1",
  f"--num_steps={_STEPS}",
  "--batch_size=32",
  "--seconds_between_saves=0",
)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
  """Starts the training main on digits; returns the process."""
  cache = tmp_path_factory.mktemp("cache")
  return lambda folder, *flags: mains.start(
    "train_classifier", *_FLAGS, f"--model_dir={folder}", f"--compilation_cache={cache}", *flags
  )


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
  folder = tmp_path_factory.mktemp("undisturbed")
  code, output = mains.finish(train(folder))
  assert code == 0, output
  assert "test accuracy" in output and f"after {_STEPS} steps" in output
  return folder


def _metrics(folder):
  path = folder / _NAME / training.METRICS
  lines = path.read_text().splitlines() if path.exists() else []
  return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]


def test_killed_twice_it_ends_in_the_same_bits(train, trained, tmp_path):
  for wanted in (1, 4):  # as soon as so many lines of metrics are there
    process = train(tmp_path)
    deadline = time.monotonic() + 300
    while len(_metrics(tmp_path)) < wanted and time.monotonic() < deadline:
      time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    saved = checkpoints.load(str(tmp_path / _NAME))
    assert process.returncode == -signal.SIGKILL
    assert saved is None or not saved.meta["finished"]
  code, output = mains.finish(train(tmp_path))
  assert code == 0, output
  whole, killed = (checkpoints.load(str(folder / _NAME)) for folder in (trained, tmp_path))
  jax.tree.map(np.testing.assert_array_equal, whole.state, killed.state)
  assert whole.meta == killed.meta and whole.meta["num_steps"] == _STEPS
  assert _metrics(trained) == _metrics(tmp_path) and len(_metrics(trained)) == _STEPS // 10


def test_a_signal_saves_and_the_training_goes_on(train, trained, tmp_path):
  process = train(tmp_path, "--seconds_between_saves=1000")
  deadline = time.monotonic() + 300
  while len(_metrics(tmp_path)) < 3 and time.monotonic() < deadline:
    time.sleep(0.005)
  process.send_signal(signal.SIGTERM)
  code, output = mains.finish(process)
  assert code == 143 and "Traceback" not in output
  assert "terminated: run the command again, and it goes on where it was" in output
  saved = checkpoints.load(str(tmp_path / _NAME))
  assert saved is not None and saved.meta["num_steps"] == 10 * len(_metrics(tmp_path)) >= 30
  code, output = mains.finish(train(tmp_path))
  assert code == 0, output
  found = [checkpoints.load(str(folder / _NAME)) for folder in (trained, tmp_path)]
  jax.tree.map(np.testing.assert_array_equal, *(each.state for each in found))


def test_two_processes_train_together(train, trained, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    train(tmp_path, f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={i}")
    for i in (0, 1)
  ]
  codes, outputs = zip(*map(mains.finish, processes))
  assert codes == (0, 0), outputs
  losses = [[line["loss"] for line in _metrics(folder)] for folder in (trained, tmp_path)]
  np.testing.assert_allclose(losses[1][:5], losses[0][:5], rtol=1e-4)
  assert checkpoints.load(str(tmp_path / _NAME)).meta["finished"]


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
  with pytest.raises(ValueError, match="a batch of 60 images does not divide over 8 devices"):
    mains.run("train_classifier", "--batch_size=60", "--num_steps=1", f"--model_dir={tmp_path}")
  assert not list(tmp_path.iterdir())


def test_training_with_noise_masks_one_loss(tmp_path):
  """After half of the published training; what --diagnose tries is in test_diagnosis.py."""
  mains.run(
    "whitebox_attacks",
    "--attack=pgd",
    "--trained_with=or",
    "--num_epochs=25",
    "--num_images=40",
    "--num_pictures=0",
    "--loss=xent",
    "--loss=cw",
    f"--model_dir={tmp_path}",
    f"--out={tmp_path / 'out'}",
  )
  sentence = verdict.verdict(tmp_path / "out")
  left = re.match(r"Masked: PGD\(Xent\) leaves an accuracy of (0\.\d+),", sentence)
  assert left and float(left[1]) > 0.8, sentence
  assert "all 2 attacks 0.0" in sentence and "more fall to PGD(CW) than to PGD(Xent)." in sentence
  found = records.read(str(tmp_path / "out"))
  assert {(r["defense"], r["strength"], r["trained_with"]) for r in found} == {("none", 0.0, "or")}
  usual = {"loss": "xent", "steps": 10, "restarts": 1, "float64": False, "substitute": None}
  published = [r for r in found if r["setting"] == usual]
  assert len(published) == 40 and np.mean([r["zero_gradients"] for r in published]) > 0.8
  assert (tmp_path / "out" / "under_attack.png").exists()


def test_the_twin_of_a_diagnosis_is_taken_as_it_is(digits_model):
  """It lies there after 30 epochs; 50 are asked of the network that is attacked."""
  folder = digits_model[2].parent
  asked = mains.asked("whitebox_attacks", "--num_epochs=50", f"--model_dir={folder}")
  load = functools.partial(
    trained_networks.load, str(folder), asked.images, Recipe(), asked.classifier.training, 0, None
  )
  assert load(as_it_is=True).training["num_steps"] == 330
  with pytest.raises(ValueError, match="was trained for 330 steps, not 550"):
    load()


def test_transfers_follow_substitutes_of_another_seed(tmp_path):
  models = tmp_path / "models"
  mains.run(
    "whitebox_attacks",
    "--attack=pgd",
    "--num_steps=60",
    "--num_images=5",
    "--substitute_stddev=0",
    "--substitute_stddev=1",
    "--loss=cw",
    "--loss=cw_unbounded",
    f"--model_dir={models}",
    f"--out={tmp_path / 'out'}",
  )
  found = records.read(str(tmp_path / "out"))
  substitutes = ["convnet_digits-substitute", "convnet_digits-or1-substitute"]
  assert {(r["setting"]["loss"], r["setting"]["substitute"]) for r in found} == set(
    itertools.product(["cw", "cw_unbounded"], substitutes)
  )
  assert all(r["num_steps"] == 11 for r in found), "a transfer takes all its steps"
  assert [checkpoints.load(str(models / name)).meta["seed"] for name in substitutes] == [2**31] * 2
  assert checkpoints.load(str(models / "convnet_digits")).meta["seed"] == 0
  manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
  assert manifest["request"]["substitutes"].keys() == set(substitutes)
  assert (tmp_path / "out" / "figure17.png").exists()


def test_a_random_network_is_asked_for_averages_and_one_without_noise_is_not_random(tmp_path):
  flags = (
    "--attack=pgd",
    "--trained_with=or",
    "--noise_location=every",
    "--stddev=0.1",
    "--num_steps=20",
    "--batch_size=64",
    "--num_images=4",
    "--num_pictures=0",
    "--loss=xent",
    f"--model_dir={tmp_path}",
  )
  mains.run("whitebox_attacks", *flags, f"--out={tmp_path / 'out'}", "--num_samples=20")
  found = records.read(str(tmp_path / "out"))
  assert {(r["defense"], r["strength"], r["num_samples"]) for r in found} == {
    ("inner_noise", 0.1, 20)
  }
  # The defense is the noise: without it the same network answers the same twice.
  mains.run("whitebox_attacks", *flags, f"--out={tmp_path / 'quiet'}", "--defense=none")
  assert {r["noise_error_rate"] for r in records.read(str(tmp_path / "quiet"))} == {0.0}
