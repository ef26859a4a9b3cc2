"""Queries per second of each attack through the engine, against the bare forward pass.

    python experiments/benchmark.py --dataset=digits

One process, one network: rows per second of the jitted forward pass at its best batch size and
at as many rows a call as the attack sends, queries per second of every attack through the
engine, their ratios; the share of executed slot-steps that moved a live trial in a sweep; images
per second of training and steps per second of white-box PGD, beside bare gradients; then, each
in a new process, the time from process start to the first finished trial with an empty and a
full compilation cache. The network has random weights: its speed does not depend on them.
Prints a table and one JSON line.
"""

import json
import platform
import tempfile
from typing import NamedTuple

import jax
import numpy as np

from harness import app
from harness import data
from harness import recipes
from harness import request
from harness import sizes
from harness import trainings
from harness.classifiers import trained
from harness.report import tables
from harness.request import Option
from harness.speed import attacks
from harness.speed import start_up
from harness.speed import training

OPTIONS = [
  *data.DATASET,
  recipes.DESCRIPTION[0],
  recipes.MODEL_DIR,
  Option(
    "rounds",
    "integer",
    5,
    "alternating measurements of the forward pass and of each attack",
    request.HOW_MUCH,
    low=1,
    high=1000,
  ),
  Option(
    "seconds", "float", 4.0, "length of one measurement", request.HOW_MUCH, low=0.1, high=3600
  ),
  Option(
    "only",
    "string",
    [],
    "measure the attack of this name only, or `training`, which is white-box PGD too",
    request.HOW_MUCH,
    many=True,
  ),
  Option(
    "start_up",
    "boolean",
    True,
    "also measure process start to first finished trial",
    request.HOW_MUCH,
  ),
  sizes.SLOTS,
]


class BenchmarkRequest(NamedTuple):
  """Which network, and what is measured for how long."""

  images: request.DataRequest
  recipe: recipes.Recipe
  model_dir: str
  rounds: int
  seconds: float
  only: list[str]
  start_up: bool
  slots: int | None
  cache: str


def read(values: request.Values) -> BenchmarkRequest:
  """The request that the flags make."""
  images = data.read(values)
  recipe = recipes.Recipe(values["network"])
  known = [x.name for x in attacks.endless(trained.classifier(images, recipe).image_shape)]
  if unknown := set(values["only"]) - {"training", *known}:
    names = ", ".join(map(repr, known))
    raise ValueError(f"--only={min(unknown)} is not measured: pass 'training' or one of {names}")
  return BenchmarkRequest(
    images,
    recipe,
    values["model_dir"],
    values["rounds"],
    values["seconds"],
    values["only"],
    values["start_up"],
    values["slots_per_device"],
    values["compilation_cache"],
  )


def _spread(ratios):
  return f"{np.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def report_attacks(asked, classifier, variables, measured) -> dict:
  """Prints the rates of attacks; returns what the JSON line says of them."""
  rng = np.random.default_rng(0)
  images = rng.random((max(attacks.BATCH_SIZES), *classifier.image_shape), np.float32)
  best, found = attacks.measure(
    classifier, variables, images, measured, asked.slots, asked.rounds, asked.seconds
  )
  header = ["attack", "forward rows/s", "best batch", "rows/s", "ratio (min-max)"]
  header += ["rows a call", "ratio to as many rows (min-max)"]
  print(
    tables.markdown(
      header,
      [
        [
          x["attack"],
          f"{x['forward_rows_per_s']:.0f}",
          str(best),
          f"{x['rows_per_s']:.0f}",
          _spread(x["ratios"]),
          str(x["rows_per_call"]),
          _spread(x["ratios_of_as_many"]),
        ]
        for x in found
      ],
    )
  )
  ratios = {x["attack"]: x["ratio"] for x in found}
  if {"zoo", "zoo, averaging 100"} <= ratios.keys():
    times = ratios["zoo"] / ratios["zoo, averaging 100"]
    print(f"a step that averages 100 answers takes {times:.2f} times as long as one that does not")
  shares = {"useful_steps": {}, "useful_steps_with_refill": {}}
  for name, (useful, refilled) in attacks.useful_shares(classifier, variables, images).items():
    print(
      f"useful over executed steps of a sweep of {attacks.NUM_SWEPT} trials of {name}: "
      f"{useful:.2f}, while trials waited for a slot {refilled:.2f}"
    )
    shares["useful_steps"][name] = useful
    shares["useful_steps_with_refill"][name] = None if np.isnan(refilled) else refilled
  return {"best_batch": best, "attacks": found, **shares}


def report_training(asked, classifier, variables) -> dict:
  """Prints the rates of training and white-box PGD; returns them for the JSON line."""
  found = training.measure(classifier, variables, asked.rounds, asked.seconds)
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


def report_start_up(asked) -> dict:
  """Prints how long a user waits for the first trial; returns it for the JSON line."""
  trained.load(
    asked.model_dir, asked.images, asked.recipe, trainings.Training(), 0, None, as_it_is=True
  )  # not part of the start-up
  flags = start_up.flags_of(asked.images, asked.model_dir)
  with tempfile.TemporaryDirectory() as cache:
    cold, warm = start_up.seconds(flags, cache), start_up.seconds(flags, cache)
  print(
    f"process start to first finished trial: {cold:.1f} s with an empty compilation cache, "
    f"{warm:.1f} s with a full one"
  )
  return {"start_up_s": {"cold": cold, "warm": warm}}


def main(asked: BenchmarkRequest) -> None:
  """Measures, prints tables and the JSON line."""
  classifier = trained.classifier(asked.images, asked.recipe)
  variables = classifier.init(jax.random.key(0))
  measured = attacks.endless(classifier.image_shape)
  measured = [x for x in measured if not asked.only or x.name in asked.only]
  result = {
    "dataset": asked.images.name,
    "device": jax.devices()[0].device_kind,
    "num_devices": jax.device_count(),
    "machine": platform.processor(),
    "jax": jax.__version__,
    "best_batch": None,
    "attacks": [],
    "training": {},
    "useful_steps": {},
    "useful_steps_with_refill": {},
  }
  if measured:
    result |= report_attacks(asked, classifier, variables, measured)
  if not asked.only or "training" in asked.only:
    result |= report_training(asked, classifier, variables)
  if asked.start_up:
    result |= report_start_up(asked)
  print(json.dumps(result))


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
