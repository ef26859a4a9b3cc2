"""Queries per second of each attack through the engine, against the bare forward pass.

    python experiments/benchmark.py --dataset=digits

One process, one network: rows per second of the jitted forward pass at its best batch
size, queries per second of every attack through the engine, their ratio; the share of
executed slot-steps that moved a live trial in a sweep; images per second of training and
steps per second of white-box PGD, beside bare gradients; then, each in a new process, the
time from process start to the first finished trial with an empty and a full compilation
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
import attack_speed
import classifiers
import common
import jax
import numpy as np
import own_models
import recipes
import sweep
import tables
import training_speed

from orjax import models

_ROUNDS = flags.DEFINE_integer(
  "rounds", 5, "Alternating measurements of the forward pass and of each attack.", lower_bound=1
)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length of one measurement.", lower_bound=0.1)
_ONLY = flags.DEFINE_multi_string(
  "only",
  [],
  "Measure the attack of this name only, or `training`, which is white-box PGD "
  "too; repeat the flag for several.",
)
_START_UP = flags.DEFINE_bool(
  "start_up", True, "Also measure process start to first finished trial."
)


def start_up_seconds(cache):
  """Seconds from process start to the first finished trial, of the main job."""
  with tempfile.TemporaryDirectory() as out:
    command = [
      sys.executable,
      str(pathlib.Path(__file__).parent / "blackbox_attacks.py"),
      f"--dataset={common.DATASET.value}",
      f"--model_dir={classifiers.MODEL_DIR.value}",
      f"--data_dir={common.DATA_DIR.value}",
      f"--compilation_cache={cache}",
      f"--out={out}",
      "--variance=0",
      "--num_images=1",
      "--max_queries=600",
    ]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
      ledger = pathlib.Path(out, "records.jsonl")
      while not (ledger.exists() and ledger.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
      seconds = time.perf_counter() - start
    if process.returncode:
      raise ValueError("the main job failed: see its message above")
    return seconds


def _spread(ratios):
  return f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def report_attacks(classifier, variables, measured):
  """Prints the rates of attacks; returns what the JSON line says of them."""
  rng = np.random.default_rng(0)
  images = rng.random((max(attack_speed.BATCH_SIZES), *classifier.image_shape), np.float32)
  best, found = attack_speed.measure(
    classifier,
    variables,
    images,
    measured,
    sweep.SLOTS_PER_DEVICE.value,
    _ROUNDS.value,
    _SECONDS.value,
  )
  print(
    tables.markdown(
      ["attack", "forward rows/s", "best batch", "rows/s", "ratio (min-max)"],
      [
        [
          x["attack"],
          f"{x['forward_rows_per_s']:.0f}",
          str(best),
          f"{x['rows_per_s']:.0f}",
          _spread(x["ratios"]),
        ]
        for x in found
      ],
    )
  )
  ratios = {x["attack"]: x["ratio"] for x in found}
  if {"zoo", "zoo, averaging 100"} <= ratios.keys():
    print(
      f"a step that averages 100 answers takes "
      f"{ratios['zoo'] / ratios['zoo, averaging 100']:.2f} times as long as one that does "
      f"not"
    )
  useful = attack_speed.useful_share(classifier, variables, images)
  print(f"useful over executed steps of a sweep of 200 trials: {useful:.2f}")
  return {"best_batch": best, "attacks": found, "useful_steps": useful}


def report_training(classifier, variables):
  """Prints the rates of training and white-box PGD; returns them for the JSON line."""
  found = training_speed.measure(classifier, variables, _ROUNDS.value, _SECONDS.value)
  rows, report = [], {}
  for name, pairs in found.items():
    ratios = [ours / bare for bare, ours in pairs]
    bare, ours = np.median(pairs, axis=0).tolist()
    report[name] = {
      "bare_images_per_s": bare,
      "images_per_s": ours,
      "ratio": float(np.median(ratios)),
    }
    rows.append([name, f"{bare:.0f}", f"{ours:.0f}", _spread(ratios)])
  print(tables.markdown(["loop", "bare gradients, images/s", "images/s", "ratio (min-max)"], rows))
  return {"training": report}


def report_start_up():
  """Prints how long a user waits for the first trial; returns it for the JSON line."""
  classifiers.load(common.DATASET.value)  # not part of the start-up
  with tempfile.TemporaryDirectory() as cache:
    cold, warm = start_up_seconds(cache), start_up_seconds(cache)
  print(
    f"process start to first finished trial: {cold:.1f} s with an empty compilation cache, "
    f"{warm:.1f} s with a full one"
  )
  return {"seconds_to_first_trial_cold": cold, "seconds_to_first_trial_warm": warm}


def main():
  own_models.refuse()
  classifier = models.build(recipes.network(common.DATASET.value, recipes.from_flags()))
  variables = classifier.init(jax.random.key(0))
  asked = set(_ONLY.value)
  measured = attack_speed.endless(int(np.prod(classifier.image_shape)))
  unknown = asked - {"training"} - {x.name for x in measured}
  if unknown:
    names = ", ".join(f"{x.name!r}" for x in measured)
    raise ValueError(f"--only={min(unknown)} is not measured: pass 'training' or one of {names}")
  measured = [x for x in measured if not asked or x.name in asked]
  result = {
    "dataset": common.DATASET.value,
    "device": jax.devices()[0].device_kind,
    "num_devices": jax.device_count(),
    "machine": platform.processor(),
    "jax": jax.__version__,
    "best_batch": None,
    "attacks": [],
    "training": {},
    "useful_steps": None,
  }
  if measured:
    result |= report_attacks(classifier, variables, measured)
  if not asked or "training" in asked:
    result |= report_training(classifier, variables)
  if _START_UP.value:
    result |= report_start_up()
  print(json.dumps(result))


if __name__ == "__main__":
  common.run(main)
