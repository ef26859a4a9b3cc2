"""Queries per second of each attack through the engine, against the bare forward pass.

    python experiments/benchmark.py --dataset=digits

One process, one network: rows per second of the jitted forward pass at its best batch
size, queries per second of every attack through the engine, their ratio; the share of
executed slot-steps that moved a live trial in a sweep; images per second of training and
steps per second of white-box PGD, beside bare gradients; then, each in a new process, the time from process start to the first finished trial with an empty and a full compilation
cache. The network has random weights: its speed does not depend on them. Prints a table
and one JSON line.
"""

import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

import classifiers
import common
import own_models
import recipes
import tables
from orjax import attacks
from orjax import estimators
from orjax import models
from orjax import objectives
from orjax import oracles
from orjax import runner
import sweep
import training_speed

_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Alternating measurements of the forward pass and of each attack.",
    lower_bound=1)
_SECONDS = flags.DEFINE_float(
    "seconds", 4.0, "Length of one measurement.", lower_bound=0.1)
_ONLY = flags.DEFINE_multi_string(
    "only", [], "Measure the attack of this name only, or `training`, which is white-box PGD "
    "too; repeat the flag for several.")
_START_UP = flags.DEFINE_bool(
    "start_up", True, "Also measure process start to first finished trial.")
_BATCH_SIZES = (64, 128, 256, 512, 1024, 2048, 4096)


def attack_rate(attack, objective, threats, variables, tasks, num_queries, plan):
  """Queries per second without compilation, and the useful share of executed steps."""
  statistics = runner.Statistics()
  for _ in runner.run(attack, objective, threats, variables, tasks, seed=0,
                      max_queries=num_queries, plan=plan, statistics=statistics):
    pass
  return (statistics.queries_per_second,
          statistics.useful_steps / statistics.executed_steps)


def endless(objective, size):
  """Name, an attack that never gives up, rows a step, answers averaged per row."""
  half = min(128, size // 2)
  shared = {"max_steps": 10**9, "binary_search_steps": 1, "check_every": None}
  zoo = attacks.zoo(objective, num_coordinates=half, **shared)
  nes = attacks.carlini_wagner(objective, estimators.nes(num_pairs=half), **shared)
  never = objective._replace(achieved=lambda row, label: jnp.zeros((), bool))
  return [("zoo", zoo, 2 * half + 1, 1), ("zoo, averaging 100", zoo, 2 * half + 1, 100),
          ("nes", nes, 2 * half + 1, 1), ("ql", attacks.ql(never), 51, 1),
          ("bandits", attacks.bandits(never, prior_size=8), 3, 1)]


def useful_share(objective, threats, variables, images):
  """Useful over executed steps of a sweep of 200 ZOO trials of unequal length."""
  attack = attacks.zoo(objective, num_coordinates=8, binary_search_steps=3, max_steps=40,
                       check_every=4)
  tasks = [runner.Task({}, images[i], 0, 0, i, {"stddev": np.float32(10.0 ** -(i % 5))})
           for i in range(200)]
  plan = runner.Plan(runner.choose_slots(attack, threats, variables, tasks), chunk=10)
  return attack_rate(attack, objective, threats, variables, tasks, 10**6, plan)[1]


def start_up_seconds(cache):
  """Seconds from process start to the first finished trial, of the main job."""
  with tempfile.TemporaryDirectory() as out:
    command = [
        sys.executable, str(pathlib.Path(__file__).parent / "blackbox_attacks.py"),
        f"--dataset={common.DATASET.value}", f"--model_dir={classifiers.MODEL_DIR.value}",
        f"--data_dir={common.DATA_DIR.value}", f"--compilation_cache={cache}",
        f"--out={out}", "--variance=0", "--num_images=1", "--max_queries=600"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
      ledger = pathlib.Path(out, "records.jsonl")
      while not (ledger.exists() and ledger.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
      seconds = time.perf_counter() - start
    if process.returncode:
      raise ValueError("the main job failed: see its message above")
    return seconds


def report_training(classifier, variables):
  """Prints the rates of training and white-box PGD; returns them for the JSON line."""
  found = training_speed.measure(classifier, variables, _ROUNDS.value, _SECONDS.value)
  rows, report = [], {}
  for name, pairs in found.items():
    ratios = [ours / bare for bare, ours in pairs]
    bare, ours = np.median(pairs, axis=0).tolist()
    report[name] = {"bare_images_per_s": bare, "images_per_s": ours,
                    "ratio": float(np.median(ratios))}
    rows.append([name, f"{bare:.0f}", f"{ours:.0f}",
                 f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"])
  print(tables.markdown(["loop", "bare gradients, images/s", "images/s", "ratio (min-max)"],
                        rows))
  return report


def main():
  own_models.refuse()
  classifier = models.build(recipes.network(common.DATASET.value, recipes.from_flags()))
  variables = classifier.init(jax.random.key(0))
  clean = lambda variables: oracles.from_predict(
      lambda v, x: jax.nn.softmax(classifier.apply(v, x)), variables)
  with oracles.full_precision():
    forward = jax.jit(lambda v, x: jax.nn.softmax(classifier.apply(v, x)))
    rng = np.random.default_rng(0)
    images = rng.random((max(_BATCH_SIZES), *classifier.image_shape), np.float32)
    by_size = {size: training_speed.rate(
        forward, (variables, jnp.asarray(images[:size])), size, 0.5)
               for size in _BATCH_SIZES}
  best = max(by_size, key=by_size.get)
  objective = objectives.log_margin()
  rows, report = [], []
  unknown = set(_ONLY.value) - {"training"} - {
      name for name, *_ in endless(objective, images[0].size)}
  if unknown:
    raise ValueError(f"--only={min(unknown)} is no attack that is measured")
  for name, attack, per_step, num_samples in endless(objective, images[0].size):
    if _ONLY.value and name not in _ONLY.value:
      continue
    threats = sweep.threat_model(clean, num_samples)
    # Trials of one length fill all slots: the rate of the loop, without a tail.
    tasks = [runner.Task({}, images[i], 0, 0, i, {"stddev": np.float32(1e-2)})
             for i in range(1024)]
    slots = sweep.SLOTS_PER_DEVICE.value or runner.choose_slots(
        attack, threats, variables, tasks)
    num_slots = slots * jax.local_device_count()
    plan = runner.Plan(slots, chunk=4)
    tasks = tasks[:num_slots]
    budget = num_samples * per_step * max(
        8, int(_SECONDS.value * by_size[best] / per_step / num_slots))
    pairs = []
    for _ in range(_ROUNDS.value):  # alternating, as the machine's speed drifts
      with oracles.full_precision():
        bare = training_speed.rate(
            forward, (variables, jnp.asarray(images[:best])), best, _SECONDS.value)
      rate, _ = attack_rate(attack, objective, threats, variables, tasks, budget, plan)
      pairs.append((bare, rate / num_samples, rate / num_samples / bare))
    bare, rate, ratio = np.median(pairs, axis=0).tolist()
    report.append({"attack": name, "forward_rows_per_s": bare, "rows_per_s": rate,
                   "queries_per_s": rate * num_samples, "ratio": ratio,
                   "slots_per_device": slots})
    spread = f"{min(p[2] for p in pairs):.2f}-{max(p[2] for p in pairs):.2f}"
    rows.append([name, f"{bare:.0f}", str(best), f"{rate:.0f}",
                 f"{ratio:.2f} ({spread})"])
  if rows:
    print(tables.markdown(["attack", "forward rows/s", "best batch", "rows/s",
                           "ratio (min-max)"], rows))
  trained = {}
  if not _ONLY.value or "training" in _ONLY.value:
    trained = report_training(classifier, variables)
  ratios = {entry["attack"]: entry["ratio"] for entry in report}
  if {"zoo", "zoo, averaging 100"} <= ratios.keys():
    print(f"a step that averages 100 answers takes "
          f"{ratios['zoo'] / ratios['zoo, averaging 100']:.2f} times as long as one that does "
          f"not")
  useful = None
  if rows:
    useful = useful_share(objective, sweep.threat_model(clean), variables, images)
    print(f"useful over executed steps of a sweep of 200 trials: {useful:.2f}")
  result = {"dataset": common.DATASET.value, "device": jax.devices()[0].device_kind,
            "num_devices": jax.device_count(), "machine": platform.processor(),
            "jax": jax.__version__, "best_batch": best, "attacks": report, "training": trained,
            "useful_steps": useful}
  if _START_UP.value:
    classifiers.load(common.DATASET.value)  # not part of the start-up
    with tempfile.TemporaryDirectory() as cache:
      result["seconds_to_first_trial_cold"] = start_up_seconds(cache)
      result["seconds_to_first_trial_warm"] = start_up_seconds(cache)
    print(f"process start to first finished trial: "
          f"{result['seconds_to_first_trial_cold']:.1f} s with an empty compilation cache, "
          f"{result['seconds_to_first_trial_warm']:.1f} s with a full one")
  print(json.dumps(result))


if __name__ == "__main__":
  common.run(main)
