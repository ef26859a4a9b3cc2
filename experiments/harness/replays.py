"""Losses of single trials, step by step: keys make a trial repeatable."""

import math

import jax
import numpy as np

from orjax import engine
from orjax import records
from orjax.engine import trials
from orjax.types import Example


def write_traces(cells: list, out: str, num_images: int, *, seed: int, max_queries: int) -> None:
  """Replays the first run of the first images of `sweep.Cell`s into `traces.json`.

  For Figures 4 and 8. Another number of trials at a time may round differently: see
  `engine.Plan`.
  """
  if records.read_traces(out)[0] >= num_images:
    return
  num_steps = {records.identity(r): r["num_steps"] for r in records.read(out)}
  found = []
  for cell in cells:
    indices = sorted({task.index for task in cell.tasks})[:num_images]
    chosen = [task for task in cell.tasks if task.index in indices and task.run == 0]
    lengths = [num_steps[records.identity(task.identity)] for task in chosen]
    with jax.enable_x64(cell.variant.float64):
      inputs = jax.tree.map(lambda *x: np.stack(x), *map(engine.inputs, chosen))
      one = _replay(cell, seed, max(lengths), max_queries)
      seen, quiet = jax.device_get(
        jax.jit(jax.vmap(one, in_axes=(None, 0)))(cell.variables, inputs)
      )
    # JSON has no infinity: a loss that is none is null.
    numbers = lambda losses: [x if math.isfinite(x) else None for x in losses.tolist()]
    found += [
      {**task.identity, "losses": numbers(seen[i, :n]), "without_noise": numbers(quiet[i, :n])}
      for i, (task, n) in enumerate(zip(chosen, lengths))
    ]
  records.write_traces(out, num_images, found)


def _replay(cell, seed, num_steps, max_queries):
  """`one(variables, inputs)`: the losses of one trial, as seen and without noise."""

  def one(variables, inputs):
    key = trials.trial_key(jax.random.key(seed), inputs.run, inputs.index)
    trial = trials.start(
      cell.variant.attack,
      key,
      Example(inputs.image, inputs.label),
      inputs.run,
      inputs.index,
      inputs.setting,
    )
    return trials.trace(
      cell.variant.attack,
      cell.threats.asked(variables, inputs.setting),
      cell.quiet(variables),
      key,
      trial,
      num_steps,
      max_queries,
    )

  return one
