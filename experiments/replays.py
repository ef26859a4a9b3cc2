"""Losses of single trials, step by step: keys make a trial repeatable."""

import json
import math
import pathlib

import attack_flags
import common
import jax
import numpy as np

from orjax import records
from orjax import runner
from orjax import trials
from orjax.types import Example


def write_traces(cells: list, out: str, num_images: int) -> None:
  """Replays the first run of the first images of `sweep.Cell`s into `traces.json`.

  For Figures 4 and 8. Another number of trials at a time may round differently: see
  `runner.Plan`.
  """
  path = pathlib.Path(out, "traces.json")
  if path.exists() and json.loads(path.read_text())["num_images"] >= num_images:
    return
  num_steps = {records.identity(r): r["num_steps"] for r in records.read(out)}
  max_queries = attack_flags.resolved()["max_queries"]
  found = []
  for variant, threats, variables, tasks in cells:
    indices = sorted({task.index for task in tasks})[:num_images]
    chosen = [task for task in tasks if task.index in indices and task.run == 0]
    lengths = [num_steps[records.identity(task.identity)] for task in chosen]

    def one(variables, inputs):
      key = trials.trial_key(jax.random.key(common.SEED.value), inputs.run, inputs.index)
      trial = trials.start(
        variant.attack,
        key,
        Example(inputs.image, inputs.label),
        inputs.run,
        inputs.index,
        inputs.setting,
      )
      return trials.trace(
        variant.attack,
        threats.asked(variables, inputs.setting),
        threats.clean(variables),
        key,
        trial,
        max(lengths),
        max_queries,
      )

    with jax.enable_x64(variant.float64):
      inputs = jax.tree.map(lambda *x: np.stack(x), *map(runner.inputs, chosen))
      seen, quiet = jax.device_get(jax.jit(jax.vmap(one, in_axes=(None, 0)))(variables, inputs))
    # JSON has no infinity: a loss that is none is null.
    numbers = lambda losses: [x if math.isfinite(x) else None for x in losses.tolist()]
    found += [
      {
        **task.identity,
        "losses": numbers(seen[i, :length]),
        "without_noise": numbers(quiet[i, :length]),
      }
      for i, (task, length) in enumerate(zip(chosen, lengths))
    ]
  records.write_json(path, {"num_images": num_images, "traces": found})
