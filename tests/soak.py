"""Does a long process keep its memory? `python tests/soak.py --minutes=60` says so.

Small trials go through `runner.run` for as long as asked, as in a notebook or a server that
is never restarted: hundreds of trials in JAX in a call and, every tenth call, a model outside
JAX with a snapshot and a ledger on disk. What is resident is printed every minute after a
warm-up; the exit status is 1 if it has grown by more than 5 %. Linux only; no test of pytest's.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import numpy as np
from test_records import a_record

from orjax import attacks
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import records
from orjax import runner
from orjax import threats

_WARM_UP = 3  # minutes, in which allocators and caches fill
_MOST_GROWTH = 5.0  # per cent
_RUNS_PER_CALL, _CALLS_PER_HOST = 25, 10
_IMAGES = np.random.default_rng(0).uniform(0.3, 0.7, (8, 4, 4, 1)).astype(np.float32)
_WEIGHTS = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)


def _predict(weights, images):
  return jax.nn.softmax(images.reshape(len(images), -1) @ weights)


def _on_host(images):
  exponents = np.exp(images.reshape(len(images), -1) @ _WEIGHTS)
  return exponents / exponents.sum(-1, keepdims=True)


# Made once, as by a user who keeps a threat model and an attack and changes images.
_INSIDE = threats.threat_model(
  lambda weights: oracles.from_predict(_predict, weights), defenses.output_noise()
)
_HOST = oracles.from_host(_on_host, 3)
_OUTSIDE = threats.threat_model(lambda unused: _HOST, defenses.output_noise())
_OBJECTIVE = objectives.log_margin()
_ATTACK = attacks.ql(_OBJECTIVE, num_pairs=5, radius=0.1)


def _tasks(num_runs):
  labels = _on_host(_IMAGES).argmax(-1)
  return [
    runner.Task(
      {"stddev": stddev, "run": run, "index": index},
      image,
      int(label),
      run,
      index,
      {"stddev": np.float32(stddev)},
    )
    for stddev in (0.0, 1e-4, 1e-2)
    for run in range(num_runs)
    for index, (image, label) in enumerate(zip(_IMAGES, labels))
  ]


def _outcomes(threat_model, variables, num_runs, plan):
  return runner.run(
    _ATTACK,
    _OBJECTIVE,
    threat_model,
    variables,
    _tasks(num_runs),
    seed=0,
    max_queries=500,
    num_draws=20,
    plan=plan,
  )


def _in_jax():
  """The number of trials done in JAX."""
  return sum(1 for _ in _outcomes(_INSIDE, _WEIGHTS, _RUNS_PER_CALL, runner.Plan(8, 20)))


def _outside():
  """The number of trials done outside JAX, each of which is in a ledger by then."""
  with tempfile.TemporaryDirectory(prefix="orjax-soak-") as folder:
    ledger = records.Ledger(folder)
    plan = runner.Plan(4, snapshot=str(pathlib.Path(folder, "snapshot.npz")))
    plan = plan._replace(seconds_between_snapshots=0.0)
    for outcome in _outcomes(_OUTSIDE, (), 1, plan):
      identity = outcome.task.identity
      names = ("claimed", "num_steps", "num_queries")
      found = {name: getattr(outcome, name) for name in names}
      ledger.append(
        a_record(strength=identity["stddev"], run=identity["run"], index=identity["index"], **found)
      )
    return len(records.read(folder))


def _resident():
  """MB of this process in memory."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
  """Works for the minutes asked for, and judges."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--minutes", type=float, default=60.0)
  minutes = parser.parse_args().minutes
  if not minutes > _WARM_UP:
    parser.error(f"--minutes must be above the {_WARM_UP} of the warm-up, not {minutes}")
  begin = time.monotonic()
  num_calls = num_trials = 0
  readings: list[float] = []
  while (passed := (time.monotonic() - begin) / 60) < minutes:
    num_calls += 1
    num_trials += _in_jax() if num_calls % _CALLS_PER_HOST else _outside()
    if passed >= _WARM_UP + len(readings):
      readings.append(_resident())
      print(f"{passed:.0f} min, {num_trials} trials: {readings[-1]:.0f} MB", flush=True)
  # One reading is of one moment: the medians of the first and of the last fifth of them.
  some = max(1, len(readings) // 5)
  first, last = statistics.median(readings[:some]), statistics.median(readings[-some:])
  growth = 100 * (last / first - 1)
  print(
    f"{num_trials} trials in {num_calls} calls: from {first:.0f} to {last:.0f} MB, {growth:+.1f} %"
  )
  return int(growth > _MOST_GROWTH)


if __name__ == "__main__":
  sys.exit(main())
