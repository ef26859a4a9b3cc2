"""Training classifiers over all devices, resumable.

A host loop around one jitted step, not `lax.scan`: XLA's CPU backend runs convolution
gradients inside lax loops many times slower than the same step called from Python.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import logging
import pathlib
import time
from typing import Any
from typing import NamedTuple

import jax
from jax.experimental import multihost_utils
from jax.sharding import PartitionSpec as P
import numpy as np

from orjax import checkpoints
from orjax import datasets
from orjax import files
from orjax import progress
from orjax.evaluation import accuracy
from orjax.training.step import Trainer

METRICS = "metrics.jsonl"
_LOG = logging.getLogger("orjax")
# Steps between two looks at the metrics, which wait for the device; checkpoints are
# written at such steps only, so that an interrupted run repeats whole lines of metrics.
_STEPS_PER_LINE = 10


def batches(seed: int, num_examples: int, batch_size: int, start: int) -> Iterator[np.ndarray]:
  """Endless index batches [batch_size] from step `start` on; a function of its arguments.

  Each epoch is a fresh permutation; its remainder is dropped.

  Raises:
    ValueError: there are not so many examples, or no such step.
  """
  if not 1 <= batch_size <= num_examples:
    raise ValueError(
      f"batch_size={batch_size} does not fit: pass one from 1 to the {num_examples} examples"
    )
  if start < 0:
    raise ValueError(f"start={start} is no step: pass one from 0 on")
  return _batches(seed, num_examples, batch_size, start)


def _batches(seed, num_examples, batch_size, start):
  per_epoch = num_examples // batch_size
  for epoch in range(start // per_epoch, 2**31):
    order = np.random.default_rng([seed, epoch]).permutation(num_examples)
    first = start - epoch * per_epoch if epoch == start // per_epoch else 0
    for i in range(first, per_epoch):
      yield order[i * batch_size : (i + 1) * batch_size]


def check(num_examples: int, batch_size: int, num_steps: int, num_devices: int) -> None:
  """Raises ValueError for a training that cannot be run on so many devices."""
  if not 1 <= batch_size <= num_examples:
    raise ValueError(
      f"batch_size={batch_size} must be between 1 and the {num_examples} training images"
    )
  if num_steps < 1:
    raise ValueError(f"num_steps must be at least 1, not {num_steps}")
  if batch_size % num_devices:
    raise ValueError(
      f"a batch of {batch_size} images does not divide over {num_devices} "
      f"devices: pass a multiple of {num_devices}"
    )


def fit(
  trainer: Trainer,
  train: datasets.Dataset,
  *,
  seed: int,
  num_steps: int,
  batch_size: int,
  directory: str,
  meta: dict,
  test: datasets.Dataset,
  apply: Callable,
  seconds_between_saves: float = 60.0,
  devices: Sequence[Any] | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> checkpoints.Checkpoint:
  """Trains to `num_steps`, saving on the way; resumes where it was killed.

  Every step works on the whole batch, sharded over all devices of all processes, with the
  state replicated. On one device a resumed run ends in the same bits as an undisturbed one.
  The folder's `metrics.jsonl` gets a line every ten steps.

  Args:
    trainer: from `trainer`.
    train: training split.
    seed: of the initial weights, the order of the batches and all noise.
    num_steps: optimizer steps in all.
    batch_size: images a step, over all devices.
    directory: where checkpoints go; a run finished there is returned as it is, or
      continued if it had fewer steps.
    meta: JSON facts that identify the model; stored beside its accuracy.
    test: split on which the final accuracy is measured.
    apply: `apply(variables, key, images) -> logits` at test time.
    seconds_between_saves: how much work a kill costs at most, beside ten steps.
    devices: over which a batch is sharded; None means all, of all processes.
    should_stop: asked at every tenth step; where it says yes, the state is saved.

  Returns:
    The finished checkpoint: `state` a `TrainState`, `meta` with `test_accuracy`.

  Raises:
    ValueError: the directory holds a checkpoint of something else or of more steps, or the
      batch does not fit the devices.
    FloatingPointError: the loss is not finite.
    Stopped: `should_stop` said so.
  """
  devices = jax.devices() if devices is None else devices
  check(len(train.labels), batch_size, num_steps, len(devices))
  init_key, step_key = jax.random.split(jax.random.key(seed))
  shapes = jax.eval_shape(trainer.init, init_key)
  saved = checkpoints.load(directory, shapes, meta)
  if saved is not None and saved.meta["num_steps"] > num_steps:
    raise ValueError(
      f"{directory} was trained for {saved.meta['num_steps']} steps already, "
      f"not {num_steps}: ask for as many, or pass another folder"
    )
  if saved is not None and saved.meta["finished"] and saved.meta["num_steps"] == num_steps:
    return saved
  state = trainer.init(init_key) if saved is None else saved.state
  schedule = _Schedule(
    seed, num_steps, batch_size, directory, meta, seconds_between_saves, should_stop
  )
  state = _train(trainer, step_key, state, train, schedule, devices)
  meta = {
    **meta,
    "num_steps": int(state.step),
    "finished": True,
    "device": f"{len(devices)} x {devices[0].device_kind}",
    "test_accuracy": accuracy(apply, state.variables, test),
  }
  checkpoints.save(directory, state, meta)
  return checkpoints.Checkpoint(state, meta)


class Stopped(Exception):
  """A training was told to stop; its state is saved."""


class _Schedule(NamedTuple):
  """What is to be done, and where and how often it is written down; as in `fit`."""

  seed: int
  num_steps: int
  batch_size: int
  directory: str
  meta: dict
  seconds_between_saves: float
  should_stop: Callable[[], bool]


def _train(trainer, step_key, state, train, schedule, devices):
  """Takes the steps that are left, saving on the way; returns the last state, whole."""
  place, everywhere, rows = _placement(devices)
  state = jax.tree.map(lambda x: place(np.asarray(x), everywhere), state)
  step_fn = jax.jit(trainer.step, donate_argnums=1, out_shardings=everywhere)
  start, num_steps, batch_size = int(state.step), schedule.num_steps, schedule.batch_size
  log = _Log(schedule.directory, start)
  window, last_save = [], time.monotonic()
  label = f"training {schedule.meta['model']}"
  with progress.Progress(num_steps, initial=start, unit="step", label=label) as bar:
    order = batches(schedule.seed, len(train.labels), batch_size, start)
    for step, index in zip(range(start + 1, num_steps + 1), order):
      state, metrics = step_fn(
        step_key, state, place(train.images[index], rows), place(train.labels[index], rows)
      )
      window.append(metrics)
      if step % _STEPS_PER_LINE and step < num_steps:
        continue
      bar.update(len(window), log.write(step, jax.device_get(window), batch_size))
      window = []
      stops = _agreed(schedule.should_stop())
      due = time.monotonic() - last_save > schedule.seconds_between_saves
      if step < num_steps and (stops or _agreed(due)):
        meta = {**schedule.meta, "num_steps": step, "finished": False}
        checkpoints.save(schedule.directory, _whole(state), meta)
        last_save = time.monotonic()
      if step < num_steps and stops:
        raise Stopped(f"{schedule.directory} is saved after {step} of {num_steps} steps")
  return _whole(state)


def _placement(devices):
  """How arrays come onto devices: `place(x, sharding)`, on all of them, row by row."""
  mesh = jax.make_mesh(
    (len(devices),), ("batch",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,)
  )
  everywhere, rows = (jax.NamedSharding(mesh, spec) for spec in (P(), P("batch")))

  def place(x, sharding):
    # Every process has all the data and hands its devices their part.
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  return place, everywhere, rows


def _whole(state):
  """A replicated state as NumPy arrays, on every process."""
  return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), state)


def _agreed(mine: bool) -> bool:
  """What process 0 says, as all must save at the same step."""
  if jax.process_count() == 1:
    return mine
  return bool(multihost_utils.broadcast_one_to_all(np.asarray(mine)))


class _Log:
  """The folder's metrics, without what a killed run did after its last checkpoint."""

  def __init__(self, directory, start):
    self._path = pathlib.Path(directory).expanduser() / METRICS
    self._since = time.monotonic()
    if jax.process_index():
      return
    files.make_folder(self._path.parent, "pass another folder for the model (--model_dir)")
    kept = _lines_until(self._path, start)
    with files.replacing(self._path) as temporary:
      temporary.write_bytes(b"".join(line + b"\n" for line in kept))
    files.mend_lines(self._path)

  def write(self, step: int, window: list[dict], batch_size: int) -> str:
    """Appends the means over the last steps; returns them in words."""
    now = time.monotonic()
    rate, self._since = len(window) * batch_size / (now - self._since), now
    means = {name: float(np.mean([metrics[name] for metrics in window])) for name in window[0]}
    if not np.isfinite(means["loss"]):
      raise FloatingPointError(
        f"the loss is {means['loss']} at step {step}: lower the learning rate or the noise in "
        f"training, or check the data"
      )
    if jax.process_index() == 0:
      # JSON has no infinity: a mean that is none is null.
      numbers = {name: x if np.isfinite(x) else None for name, x in means.items()}
      line = {"step": step, **numbers, "images_per_second": rate}
      try:
        files.append_line(self._path, line, durable=False)
      except OSError as e:  # it is for people: the training goes on
        _LOG.warning("%s", e)
    return f"loss {means['loss']:.4f}, accuracy {means['accuracy']:.3f}, {rate:.0f} images/s"


def _lines_until(path, start):
  """Whole lines of metrics of the first steps, each step once; a damaged file is kept, too."""
  lines = files.optional(path, lambda: files.read_lines(path, advice="remove it"), [])
  whole, last = [], 0
  for line in lines:
    step = line.content.get("step") if isinstance(line.content, dict) else None
    if isinstance(step, int) and step > last:
      whole.append(line)
      last = step
  if len(whole) < len(lines):
    num_damaged = len(lines) - len(whole)
    files.set_aside(path, f"{num_damaged} of its {len(lines)} lines are damaged and left out")
  return [line.text for line in whole if line.content["step"] <= start]
