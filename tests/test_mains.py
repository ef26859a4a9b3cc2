"""The mains as a user runs them: twice, killed, on other devices, with bad flags."""

import concurrent.futures
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
_SMALL = [
  "--num_images=5",
  "--variance=0",
  "--variance=1e-4",
  "--max_queries=6000",
  "--max_steps=60",
  "--slots_per_device=2",
  "--num_pictures=2",
]


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

  def run(out, *flags, check=True, num_devices=1, wait=True, main="blackbox_attacks", small=None):
    if small is None:
      small = _SMALL if main.endswith("attacks") else []
    process = subprocess.Popen(
      _command(main, *shared, *small, f"--out={out}", *flags),
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=_environment(num_devices),
    )
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
  return sorted(
    b"".join(path.read_bytes() for path in sorted(out.glob("records*.jsonl"))).splitlines()
  )


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
  table = lambda text: text[text.index("| attack") :]
  assert table(again) == table(output) and _ledger(out) == before


def test_killed_at_any_moment_it_ends_the_same(undisturbed, attack, tmp_path):
  began = time.monotonic()
  attack(tmp_path / "whole", "--chunk=3")
  whole, killed = time.monotonic() - began, 0
  for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8):  # what was compiled before comes from the cache
    process = attack(tmp_path / "killed", "--chunk=3", wait=False)
    try:
      process.wait(share * whole)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      killed += 1
    process.communicate()
  attack(tmp_path / "killed", "--chunk=3")
  assert killed and _ledger(tmp_path / "killed") == _ledger(undisturbed[0])


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
  processes = [
    attack(
      tmp_path,
      f"--coordinator=127.0.0.1:{port}",
      "--num_processes=2",
      f"--process_id={i}",
      wait=False,
    )
    for i in (0, 1)
  ]
  outputs = [process.communicate(timeout=600)[0] for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  assert "clean success" in outputs[0] and "clean success" not in outputs[1]
  assert {p.name for p in tmp_path.glob("*.jsonl")} == {"records-0.jsonl", "records-1.jsonl"}
  assert all(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
  assert _ledger(tmp_path) == _ledger(undisturbed[0])


_REFUSED = [
  (["--variance=-1"], "--variance=-1 is no variance: pass 0 or more"),
  (["--variance=nan"], "--variance=nan is no variance"),
  (["--dataset=svhn"], "value should be one of <digits|mnist|cifar10|imagenet2012>"),
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
  (["--spacing=0.1", "--spacing=0.1"], "--spacing names a value twice"),
  (["--num_samples=0"], "num_samples"),
  (["--num_pairs=4"], "--num_pairs is not for --attack=zoo: leave it out"),
  (["--attack=nes", "--num_coordinates=4"], "--num_coordinates is not for --attack=nes"),
  (["--smoothing=1"], "--smoothing is not for --attack=zoo"),
  (["--attack=nes", "--solver=newton"], "--solver is not for --attack=nes"),
  (["--objective=margin", "--non_positive=zero"], "--non_positive is for"),
  (["--start=far", "--targeted"], "--start=far is for untargeted attacks"),
  (["--confidence=1"], "--confidence needs --objective=margin"),
  (["--attack=nes", "--smoothing=0"], "--smoothing=0 must be above 0 and finite"),
  (["surplus"], "unexpected argument 'surplus'"),
  (["--attack=bandits", "--num_pairs=3"], "--num_pairs is not for --attack=bandits"),
  (["--attack=ql", "--radius=0"], "--radius=0 must be above 0 and finite"),
  (["--attack=ql", "--max_steps=9"], "--max_steps is not for --attack=ql"),
  (["--importance=frozen"], "--importance needs --sizes"),
  (["--model=none.py:factory"], "there is no file none.py"),
  (["--dataset=imagenet2012"], "orjax trains no ImageNet network: pass yours with --model"),
  (["--model=resnet18"], "--model=resnet18 needs --weights"),
  (["--model=json:dumps", "--host_model=json:dumps"], "name two models"),
  (["--max_rows=5"], "--max_rows is for --host_model"),
  (["--split=train"], "--split is for --dataset=imagenet2012"),
]


@pytest.fixture(scope="module")
def refused(attack, tmp_path_factory):
  """Asks for all of them, two at a time: most of it is the start of a process."""

  def ask(flags):
    # The usual flags of a small run are those of ZOO.
    small = [] if flags[0] in ("--attack=ql", "--attack=bandits") else None
    out = tmp_path_factory.mktemp("refused")
    return (*attack(out, *flags, check=False, small=small), out)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = [pool.submit(ask, flags) for flags, _ in _REFUSED]
    yield {id(flags): future for (flags, _), future in zip(_REFUSED, futures)}


@pytest.mark.parametrize(
  "flags, message", _REFUSED, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_bad_input_is_one_sentence(refused, flags, message):
  code, output, out = refused[id(flags)].result()
  assert code == 1 and message in output and "Traceback" not in output
  assert output.startswith("error: ") and len(output.splitlines()) == 1
  assert not _ledger(out)


def test_folder_of_another_request_is_refused(undisturbed, attack):
  code, output = attack(undisturbed[0], "--seed=1", check=False)
  assert code == 1 and "holds records for seed=0, not 1" in output


def test_checkpoint_of_another_model_is_refused(digits_model, attack, tmp_path):
  shutil.copytree(digits_model[2], tmp_path / "models" / "convnet_mnist")
  (tmp_path / "mnist").mkdir()
  np.savez(
    tmp_path / "mnist" / "orjax-test.npz",
    labels=np.zeros(9, np.int32),
    images=np.zeros((9, 28, 28, 1), np.uint8),
  )
  code, output = attack(
    tmp_path / "out",
    "--dataset=mnist",
    f"--data_dir={tmp_path}",
    f"--model_dir={tmp_path / 'models'}",
    check=False,
  )
  assert code == 1 and "has model='convnet_digits', not 'convnet_mnist'" in output
  run = subprocess.run(
    _command(
      "train_classifier", "--dataset=digits", "--seed=3", f"--model_dir={digits_model[2].parent}"
    ),
    capture_output=True,
    text=True,
    env=_environment(),
    check=False,
  )
  assert run.returncode == 1 and "has seed=0, not 3" in run.stderr, run.stderr


def test_sweep_over_spacings_and_averages_with_traces(attack, tmp_path):
  flags = [
    "--num_images=1",
    "--spacing=1e-4",
    "--spacing=0.1",
    "--num_samples=1",
    "--num_samples=2",
    "--max_steps=10",
    "--binary_search_steps=1",
    "--trace=1",
  ]
  output = attack(tmp_path, *flags)
  assert "spacings.png" in output and "traces.png" in output
  found = [json.loads(line) for line in _ledger(tmp_path)]
  cells = {(r["num_samples"], r["setting"]["spacing"], r["variance"]) for r in found}
  assert len(found) == len(cells) == 8
  for record in found:  # ten steps, or what the budget pays for
    assert record["num_queries"] == 65 * record["num_samples"] * record["num_steps"]
  traces = json.loads((tmp_path / "traces.json").read_text())["traces"]
  assert len(traces) == 8
  for trace in traces:
    noisy = trace["variance"] > 0
    assert len(trace["losses"]) == len(trace["without_noise"]) == 10
    assert (trace["losses"] != trace["without_noise"]) == noisy
  again = attack(tmp_path, *flags)
  assert "8 trials, 8 of them done before" in again and len(_ledger(tmp_path)) == 8


def test_informed_flagfiles_run_on_any_data_set(attack, tmp_path):
  folder = ROOT / "experiments" / "flagfiles"
  for name in ("informed_nes", "informed_zoo"):
    size = "--num_pairs=22" if name == "informed_nes" else "--num_coordinates=22"
    attack(
      tmp_path / name,
      f"--flagfile={folder / f'{name}.flags'}",
      "--dataset=digits",
      size,
      "--num_images=2",
      "--max_steps=60",
      "--max_queries=100000",
      small=[],
    )
    records = [json.loads(line) for line in _ledger(tmp_path / name)]
    assert [r["num_queries"] for r in records] == [65 * 3 * 60] * 2


def test_whitebox_main(attack, tmp_path):
  output = attack(
    tmp_path,
    "--num_samples=1",
    "--num_samples=3",
    "--variance=1e-2",
    "--max_steps=150",
    "--binary_search_steps=4",
    "--trade_off=0.1",
    main="whitebox_attacks",
  )
  assert "averaging.png" in output
  clean = [r for r in map(json.loads, _ledger(tmp_path)) if not r["variance"]]
  assert all(r["clean_success"] for r in clean)
  assert {r["attack"] for r in clean} == {"carlini_wagner"}
  code, output = attack(tmp_path, "--attack=zoo", check=False, main="whitebox_attacks")
  assert code == 1 and output.startswith("error: ")


def test_calibration_keeps_its_rate(attack, tmp_path):
  output = attack(tmp_path, "--misclassification_rate=0.05", main="calibrate")
  assert "measured rate" in output
  for found in json.loads((tmp_path / "calibration.json").read_text())["found"]:
    low, high = found["interval"]
    assert low <= 0.05 <= high and found["stddev"] > 0.01
  code, output = attack(tmp_path, "--misclassification_rate=0.6", check=False, main="calibrate")
  assert code == 1 and "must be between 0 and 0.5" in output


def test_gradient_errors_fall_with_the_spacing(attack, tmp_path):
  output = attack(tmp_path, "--num_images=2", "--variance=1e-4", main="gradient_error")
  assert "figure9.png" in output
  found = json.loads((tmp_path / "gradient_error.json").read_text())["errors"]
  boundary = found["at the boundary"]
  error = lambda name: np.mean(boundary[name]["errors"])
  assert error("linear margin, h = 0.0001") == pytest.approx(
    1000 * error("linear margin, h = 0.1"), rel=0.2
  )
  assert error("linear margin, h = 0.1") < np.mean(boundary["linear margin, h = 0.1"]["true"]) / 2


def test_theory_figures(tmp_path):
  run = subprocess.run(
    _command("theory_figures", f"--out={tmp_path}", "--num_draws=20000"),
    capture_output=True,
    text=True,
    env=_environment(),
    check=False,
  )
  assert run.returncode == 0, run.stderr
  assert {path.name for path in tmp_path.glob("*.png")} == {
    "figure1b.png",
    "misclassification.png",
    "slope_errors.png",
    "training_loss.png",
  }
  assert "| 0.5 " in (tmp_path / "table.md").read_text()


_OWN = """
import numpy as np


def _weights():
  # The class means of the digits: a linear classifier that is right most of the time.
  from orjax import datasets
  train = datasets.load("digits", "train")
  images = datasets.to_float(train.images).reshape(-1, 64)
  means = np.stack([images[train.labels == k].mean(0) for k in range(10)])
  return 10 * means.T, -5 * (means**2).sum(-1)


def inside():
  weights, bias = _weights()
  apply = lambda v, x: x.reshape(len(x), -1) @ v["weights"] + v["bias"][None]
  return apply, {"weights": weights, "bias": bias}, (8, 8, 1), 10


def outside():
  weights, bias = _weights()

  def fn(images):
    with open(__file__ + ".rows", "a") as file:
      file.write(f"{len(images)}\\n")
    logits = images.reshape(len(images), -1) @ weights + bias
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)

  return fn, (8, 8, 1), 10


def wrong():
  return inside()[:3]


def misfit():
  apply, variables, _, _ = inside()
  return apply, variables, (28, 28, 1), 10
"""


def test_the_users_own_model_in_jax_and_outside(attack, tmp_path):
  """The same records up to rounding, the same queries exactly, every row asked once."""
  own = tmp_path / "own.py"
  own.write_text(_OWN)
  flags = (
    "--attack=ql",
    "--num_images=5",
    "--variance=0",
    "--variance=1e-3",
    "--max_queries=1000",
    "--slots_per_device=4",
  )
  outputs = [
    attack(tmp_path / name, f"--{flag}={own}:{name}", *flags, small=[])
    for flag, name in (("model", "inside"), ("host_model", "outside"))
  ]
  found = [
    [json.loads(line) for line in _ledger(tmp_path / name)] for name in ("inside", "outside")
  ]
  assert len(found[0]) == len(found[1]) == 10 and "clean success" in outputs[1]
  for name in ("num_queries", "num_steps", "claimed", "clean_success", "index", "target"):
    assert [r[name] for r in found[0]] == [r[name] for r in found[1]], name
  for one, other in zip(*found):
    assert one["l2"] == pytest.approx(other["l2"], abs=1e-3)
  assert found[0][0]["model"] == "own:inside" and found[1][0]["model"] == "own:outside"
  asked = sum(map(int, (tmp_path / "own.py.rows").read_text().split()))
  # Besides the attacks: the choice of images, two accuracies, a verdict of 2 x 101 rows.
  assert asked == sum(r["num_queries"] for r in found[1]) + 10 + 2 * 360 + 10 * 202
  attack(tmp_path / "outside", f"--host_model={own}:outside", *flags, small=[])
  again = sum(map(int, (tmp_path / "own.py.rows").read_text().split()))
  assert again == asked + 10, "a finished run asks only which images it is about"
  for name, message in (
    ("wrong", "must return (apply, variables, image_shape, num_classes)"),
    ("none", "has no function none"),
    ("misfit", "apply fails on images of shape (2, 28, 28, 1)"),
  ):
    code, output = attack(tmp_path / name, f"--model={own}:{name}", check=False)
    assert code == 1 and message in output and output.startswith("error: ")
  code, output = attack(tmp_path / "bench", f"--model={own}:inside", check=False, main="benchmark")
  assert code == 1 and "--model is for attacks: leave it out" in output
  code, output = attack(
    tmp_path / "limited",
    f"--host_model={own}:outside",
    "--max_rows=800",
    *flags,
    check=False,
    small=[],
  )
  assert code == 1 and "max_rows=800 does not allow" in output
  code, output = attack(
    tmp_path / "traced", f"--host_model={own}:outside", "--trace=1", check=False
  )
  assert code == 1 and "--trace replays trials" in output
  code, output = attack(
    tmp_path / "gradients", f"--host_model={own}:outside", check=False, main="whitebox_attacks"
  )
  assert code == 1 and "--host_model is for attacks that only ask" in output


def test_figures_of_committed_results(tmp_path):
  results = ROOT / "experiments" / "results"
  folders = [results / "figure2_mnist" / "untargeted", results / "informed_mnist" / "nes"]
  run = subprocess.run(
    _command("plot_figures", *(f"--records={f}" for f in folders), f"--figures={tmp_path}"),
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 0, run.stderr
  assert {p.name for p in tmp_path.iterdir()} == {
    "figure2.png",
    "pictures_untargeted.png",
    "pictures_nes.png",
  }


def test_figures_from_the_ledger_alone(undisturbed, tmp_path):
  run = subprocess.run(
    _command("plot_figures", f"--records={undisturbed[0]}", f"--figures={tmp_path}"),
    capture_output=True,
    text=True,
    check=True,
  )
  assert str(tmp_path / "figure2.png") in run.stdout
  assert (tmp_path / "figure2.png").read_bytes() == (undisturbed[0] / "figure2.png").read_bytes()
  run = subprocess.run(
    _command("plot_figures", f"--records={tmp_path / 'none'}"),
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 1 and "error: " in run.stderr
