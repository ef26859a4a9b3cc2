"""Signals, partners, devices, locks and outputs that fail: one sentence, nothing lost."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import mains
import pytest

from harness import app
from harness import limits
from harness import locks
from orjax import records


def _one_line(output):
  """The last line, once progress and results are left out: an error of one sentence."""
  assert "Traceback" not in output, output
  return output.splitlines()[-1]


def _wait_for(condition, seconds=120):
  deadline = time.monotonic() + seconds
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.02)
  assert condition()


@pytest.mark.parametrize(
  "number, code, word", [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_saves_and_ends_with_one_line(number, code, word, shared, tmp_path):
  process = mains.start("blackbox_attacks", *shared, *mains.SMALL, "--chunk=1", f"--out={tmp_path}")
  _wait_for(lambda: mains.ledger(tmp_path))
  process.send_signal(number)
  found, output = mains.finish(process)
  assert found == code, output
  assert _one_line(output) == f"{word}: run the command again, and it goes on where it was"
  assert 0 < len(mains.ledger(tmp_path)) < 10
  assert list(tmp_path.glob("snapshot-*.npz")), "the slots are saved"
  if number == signal.SIGINT:
    return  # it goes on as after SIGTERM
  code, output = mains.finish(
    mains.start("blackbox_attacks", *shared, *mains.SMALL, f"--out={tmp_path}")
  )
  assert code == 0 and len(mains.ledger(tmp_path)) == 10


_SERVER_MODEL = """
import numpy as np
from my_model import weights_and_bias

WEIGHTS, BIAS = weights_and_bias()


def factory():
  def fn(images):
    with open({counter!r}, "a") as file:
      file.write(f"{{len(images)}}\\n")
    logits = images.reshape(len(images), -1) @ WEIGHTS + BIAS
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)

  return fn, (8, 8, 1), 10
"""


def _paid(tmp_path, name):
  """Flags of a paid run, and a function that counts its rows."""
  counter = tmp_path / f"{name}.rows"
  model = tmp_path / f"{name}.py"
  examples = mains.ROOT / "experiments" / "examples"
  model.write_text(
    f"import sys\nsys.path.append({str(examples)!r})\n" + _SERVER_MODEL.format(counter=str(counter))
  )
  flags = (
    "--attack=ql",
    "--num_images=4",
    "--variance=0",
    "--variance=1e-3",
    "--max_queries=2000",
    "--slots_per_device=4",
    "--num_test_images=60",
    f"--host_model={model}:factory",
    f"--out={tmp_path / name}",
  )
  count = lambda: sum(map(int, counter.read_text().split())) if counter.exists() else 0
  return flags, count


def test_sigterm_in_a_paid_run_asks_at_most_one_step_again(tmp_path):
  flags, count = _paid(tmp_path, "whole")
  code, output = mains.finish(mains.start("blackbox_attacks", *flags))
  assert code == 0, output
  whole = count()
  flags, count = _paid(tmp_path, "ended")
  process = mains.start("blackbox_attacks", *flags)
  _wait_for(lambda: count() > whole // 2)
  process.send_signal(signal.SIGTERM)
  code, output = mains.finish(process)
  assert code == 143 and "terminated" in _one_line(output)
  assert count() < whole
  code, output = mains.finish(mains.start("blackbox_attacks", *flags))
  assert code == 0, output
  assert whole <= count() <= whole + 4 * 51, "at most one step of four slots"
  strip = lambda lines: [line.replace(b"ended:", b"whole:") for line in lines]
  assert strip(mains.ledger(tmp_path / "ended")) == strip(mains.ledger(tmp_path / "whole"))


def test_a_second_run_on_a_folder_leaves_at_once(shared, tmp_path):
  process = mains.start("blackbox_attacks", *shared, *mains.SMALL, "--chunk=1", f"--out={tmp_path}")
  try:
    _wait_for(lambda: (tmp_path / ".lock").exists() and (tmp_path / ".lock").read_text())
    code, output = mains.finish(
      mains.start("blackbox_attacks", *shared, *mains.SMALL, f"--out={tmp_path}")
    )
    assert code == 1
    assert f"{tmp_path} is being written by process {process.pid} on " in output
    assert "wait for it or end it, or pass another --out" in _one_line(output)
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()
  with locks.only_writer(tmp_path, "--out"):  # its holder is dead
    pass


def test_a_lock_is_held_once_and_by_a_process_of_a_job_each(tmp_path):
  code = (
    "import sys; from harness import locks\n"
    "try:\n"
    "  with locks.only_writer(sys.argv[1], '--out', int(sys.argv[2])): pass\n"
    "except ValueError as e: sys.exit(str(e))"
  )
  ask = lambda process: subprocess.run(
    [sys.executable, "-c", code, str(tmp_path), str(process)],
    capture_output=True,
    text=True,
    cwd=mains.ROOT / "experiments",
    check=False,
  )
  with locks.only_writer(tmp_path, "--out"), locks.only_writer(tmp_path, "--out"):
    assert f"being written by process {os.getpid()} on {socket.gethostname()}" in ask(0).stderr
    assert ask(1).returncode == 0
  assert ask(0).returncode == 0


def test_a_partner_that_never_comes_is_one_sentence(tmp_path):
  began = time.monotonic()
  code, output = mains.finish(
    mains.start(
      "blackbox_attacks",
      "--coordinator=127.0.0.1:1",
      "--num_processes=2",
      "--process_id=1",
      "--partner_timeout=3",
      f"--out={tmp_path}",
    )
  )
  assert code == 1 and time.monotonic() - began < 60
  assert output.startswith("error: ") and len(output.splitlines()) == 1, output
  assert "--partner_timeout" in output or "--coordinator" in output


def test_a_partner_that_dies_is_one_sentence_and_the_folder_resumes(shared, tmp_path):
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
  processes = [
    mains.start(
      "blackbox_attacks",
      *shared,
      *mains.SMALL,
      f"--out={tmp_path}",
      "--chunk=1",
      f"--coordinator=127.0.0.1:{port}",
      "--num_processes=2",
      f"--process_id={i}",
      "--partner_timeout=5",
    )
    for i in (0, 1)
  ]
  _wait_for(lambda: mains.ledger(tmp_path))
  processes[1].send_signal(signal.SIGKILL)
  code, output = mains.finish(processes[0])
  processes[1].communicate()
  assert code == 1
  assert _one_line(output).startswith("error: another process of this job has ended")
  mains.run("blackbox_attacks", *shared, *mains.SMALL, f"--out={tmp_path}", "--chunk=1")
  assert len(records.read(str(tmp_path))) == 10


@pytest.mark.parametrize(
  "flags, message",
  [
    (["--coordinator=nowhere", "--num_processes=2", "--process_id=0"], "is not host:port"),
    (["--coordinator=a:99999", "--num_processes=2", "--process_id=0"], "is not host:port"),
    (["--coordinator=a:1", "--num_processes=2"], "needs --num_processes and --process_id"),
    (["--coordinator=a:1", "--num_processes=2", "--process_id=2"], "must be below"),
    (["--coordinator=a:1", "--num_processes=2", "--process_id=0", "--distributed"], "leave it"),
    (["--process_id=0"], "need --coordinator"),
    (["--partner_timeout=0"], "--partner_timeout=0 must be at least 1"),
  ],
)
def test_processes_that_cannot_be_are_refused(flags, message):
  from harness import request

  with pytest.raises(ValueError, match=message):
    app.check_processes(request.parse(app.SHARING, ["main", *flags]))


@pytest.mark.parametrize(
  "environment, flags, message",
  [
    ({"JAX_PLATFORMS": "cuda"}, [], "JAX finds no device for JAX_PLATFORMS=cuda"),
    ({"JAX_PLATFORMS": "nonsense"}, [], "JAX finds no device for JAX_PLATFORMS=nonsense"),
    ({}, ["--distributed", "--partner_timeout=5"], "cannot join the other processes"),
  ],
)
def test_what_does_not_start_is_one_sentence(environment, flags, message, tmp_path):
  found = subprocess.run(
    mains.command("blackbox_attacks", f"--out={tmp_path / 'out'}", *flags),
    env={**mains.environment(), **environment},
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 1 and "Traceback" not in found.stderr
  assert message in found.stderr and found.stderr.splitlines()[-1].startswith("error: ")
  assert not (tmp_path / "out").exists()


def test_no_git_is_needed(shared, tmp_path):
  folder = str(pathlib.Path(sys.executable).parent)
  found = subprocess.run(
    mains.command(
      "blackbox_attacks",
      *shared,
      "--attack=ql",
      "--num_images=1",
      "--variance=0",
      "--max_queries=51",
      f"--out={tmp_path}",
    ),
    env={**mains.environment(), "PATH": folder},
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, found.stderr
  assert records.read_manifest(str(tmp_path))["about"]["git_commit"] == ""


def test_results_that_are_made_again_are_no_other_code(tmp_path, monkeypatch):
  code, result = (tmp_path / "experiments" / x for x in ("harness/app.py", "results/a/table.md"))
  for path in (code, result):
    path.parent.mkdir(parents=True)
    path.write_text("as committed")
  git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
  for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
    subprocess.run([*git, *words], check=True)
  monkeypatch.setattr(app, "__file__", str(code))
  commit = app.about()["git_commit"]
  assert commit
  result.unlink()
  (tmp_path / "notes").write_text("not committed")
  assert app.about()["git_commit"] == commit
  code.write_text("altered")
  assert app.about()["git_commit"] == f"{commit}-dirty"


def test_closed_and_ascii_outputs_lose_nothing(shared, tmp_path):
  flags = (*shared, "--attack=ql", "--num_images=1", "--variance=0", "--max_queries=51")
  command = mains.command("blackbox_attacks", *flags, f"--out={tmp_path / 'closed'}")
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=mains.environment()
  )
  assert process.stdout and process.stderr
  process.stdout.close()  # as `| head -0` does
  with process.stderr as stream:
    errors = stream.read()
  process.wait()
  assert "Traceback" not in errors
  assert len(mains.ledger(tmp_path / "closed")) == 1
  command = mains.command("theory_figures", "--num_draws=1000", f"--out={tmp_path / 'ascii'}")
  found = subprocess.run(
    command,
    env={**mains.environment(), "PYTHONIOENCODING": "ascii"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, found.stderr


def test_what_does_not_fit_the_memory_is_refused(monkeypatch, shared, tmp_path):
  monkeypatch.setattr(limits, "available_bytes", lambda: 2**30)
  with pytest.raises(ValueError, match=r"need about .* GiB of memory, and 1.0 GiB are there"):
    mains.run("blackbox_attacks", shared[0], "--num_runs=1000000", f"--out={tmp_path}")
  with pytest.raises(ValueError, match="slots a device need about .* lower --slots_per_device"):
    mains.run(
      "blackbox_attacks",
      shared[0],
      "--slots_per_device=1000000",
      "--num_images=1",
      f"--out={tmp_path}",
    )


def test_the_memory_that_is_there_is_known():
  assert 2**20 < limits.available_bytes() < 2**50
