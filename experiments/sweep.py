"""What the attack mains share: a sweep over variances and over variants of an attack."""

import math
import pathlib
import sys
from typing import Any
from typing import NamedTuple

from absl import flags
import attack_flags
import classifiers
import common
import jax
import jax.numpy as jnp
import numpy as np
import own_models
import plot_figures
import replays
import tables
import variants

from orjax import datasets
from orjax import engine
from orjax import oracles
from orjax import records
from orjax import runner

VARIANCE = flags.DEFINE_multi_float(
  "variance",
  None,
  "Variance of the output noise; repeat the flag for a sweep (default: 0 to 0.1; PGD: none).",
)
NUM_IMAGES = flags.DEFINE_integer(
  "num_images", 20, "Correctly classified test images to attack.", lower_bound=1
)
NUM_RUNS = flags.DEFINE_integer("num_runs", 1, "Repeats of every attack.", lower_bound=1)
ALL_TARGETS = flags.DEFINE_bool(
  "all_targets", False, "Targeted: attack all other classes, not one drawn per image."
)
SERVER_CLIPS = flags.DEFINE_bool(
  "server_clips", False, "Whether the server clips images to [0, 1] before it looks."
)
OUT = flags.DEFINE_string(
  "out", f"runs/{pathlib.Path(sys.argv[0]).stem}", "Folder for the records."
)
NUM_PICTURES = flags.DEFINE_integer(
  "num_pictures", 4, "Images of the first run kept for pictures.png.", lower_bound=0
)
TRACE = flags.DEFINE_integer(
  "trace", 0, "Images whose loss at every step is written to traces.json.", lower_bound=0
)

# For speed. The number of slots is the shape of the network's batch, on which rounding may
# depend, so a folder keeps to one; any number of devices and any chunk give the same bits.
SLOTS_PER_DEVICE = flags.DEFINE_integer(
  "slots_per_device",
  None,
  "For speed: trials at a time on each device (default: "
  "what fills it). A folder of records keeps to one value.",
  lower_bound=1,
)
CHUNK = flags.DEFINE_integer(
  "chunk", 50, "Speed only: attack steps between two looks.", lower_bound=1
)


class Cell(NamedTuple):
  """One run of the engine: a variant of the attack, who answers whom, the trials."""

  variant: variants.Variant
  threats: engine.ThreatModel
  variables: Any
  tasks: list[runner.Task]


def variances() -> list[float]:
  """Those that are swept."""
  if VARIANCE.value is not None:
    return VARIANCE.value
  return [0.0] if flags.FLAGS.attack == "pgd" else [0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1]


def check_flags():
  if TRACE.value and own_models.HOST_MODEL.value:
    raise ValueError(
      "--trace replays trials, which would ask --host_model all over again: leave one out"
    )
  if flags.FLAGS.attack == "pgd":
    if any(variances()):
      raise ValueError(
        "--variance is noise on probabilities, and PGD sees logits: pass "
        "--attack=carlini_wagner, or leave it out"
      )
    if TRACE.value and variants.STOP_AT_SUCCESS.value:
      raise ValueError("--trace of PGD needs --nostop_at_success: all its steps are shown")
  for variance in variances():
    if not 0 <= variance < math.inf:
      raise ValueError(f"--variance={variance:g} is no variance: pass 0 or more")
  for flag in (VARIANCE, attack_flags.NUM_SAMPLES, attack_flags.SPACING):
    if flag.value and len(set(flag.value)) < len(flag.value):
      raise ValueError(f"--{flag.name} names a value twice: pass each once")


def threat_model(answers, num_samples=1, substitute=None):
  """The classifier, what the server adds, what the attacker does about it.

  `answers(variables)` is the classifier. A transfer attack asks `substitute` instead; then
  variables are a pair.
  """
  own = (lambda variables: variables) if substitute is None else (lambda pair: pair[0])

  def clean(variables):
    oracle = answers(own(variables))
    if not SERVER_CLIPS.value:
      return oracle
    return oracle._replace(query=lambda key, images: oracle.query(key, jnp.clip(images, 0, 1)))

  def defended(variables, setting):
    return oracles.with_output_noise(clean(variables), setting["stddev"])

  def asked(variables, setting):
    if substitute is not None:
      return oracles.averaged(substitute(variables[1]), num_samples)
    return oracles.averaged(defended(variables, setting), num_samples)

  return engine.ThreatModel(clean, defended, asked)


def make_tasks(model, labels, chosen, images, variant):
  """One task per variance, run, image and target, with its record's first fields."""
  tasks = []
  for variance in variances():
    for index, image in zip(chosen.tolist(), images):
      label = int(labels[index])
      wanted = (
        [None]
        if not attack_flags.TARGETED.value
        else datasets.targets(
          common.SEED.value, index, label, model.num_classes, draw=not ALL_TARGETS.value
        )
      )
      for target in wanted:
        for run in range(NUM_RUNS.value):
          identity = {
            "dataset": common.DATASET.value,
            "model": model.name,
            "defense": "output_noise",
            "variance": variance,
            "attack": flags.FLAGS.attack,
            "targeted": attack_flags.TARGETED.value,
            "num_samples": variant.num_samples,
            "seed": common.SEED.value,
            "run": run,
            "index": index,
            "label": label,
            "target": target,
            "setting": variant.setting,
          }
          # Without noise an attack goes on for longest.
          tasks.append(
            runner.Task(
              identity,
              image,
              label if target is None else target,
              run,
              index,
              {"stddev": np.float32(math.sqrt(variance))},
              expected_steps=1 / (1e-12 + variance),
            )
          )
  return tasks


def make_cell(model, other, labels, chosen, images, variant):
  """What the engine needs for a variant; in float64 under `jax.enable_x64` only.

  `other` is the substitute that a transfer attack follows, or None.
  """
  if variant.float64:
    model, other = (known and classifiers.in_float64(known) for known in (model, other))
    images = images.astype(np.float64)
  # White-box PGD looks at logits; so do its verdicts: without noise their order is the same.
  answers = model.logits if flags.FLAGS.attack == "pgd" else model.clean
  tasks = make_tasks(model, labels, chosen, images, variant)
  if other is None:
    return Cell(variant, threat_model(answers, variant.num_samples), model.variables, tasks)
  return Cell(
    variant,
    threat_model(answers, variant.num_samples, other.logits),
    (model.variables, other.variables),
    tasks,
  )


def report(cells):
  """Table and figures, once the ledgers are complete."""
  missing = sum(len(cell.tasks) for cell in cells) - len(records.read(OUT.value))
  if missing:
    raise ValueError(f"{missing} trials are missing in {OUT.value}: run the command again")
  if TRACE.value:
    replays.write_traces(cells, OUT.value, TRACE.value)
  text = tables.attacks(OUT.value)
  if variants.DIAGNOSE.value:
    text += "\n\n" + tables.verdict(OUT.value)
  print(text)
  pathlib.Path(OUT.value, "table.md").write_text(text + "\n")
  for path in plot_figures.draw([OUT.value], OUT.value):
    print(f"figure: {path}")


def main():
  """The body of an attack main."""
  check_flags()
  planned = variants.planned()
  for variant in planned:
    attack_flags.check(variant.attack, variant.num_samples)
  records.make_folder(OUT.value)
  model = (
    classifiers.load
    if flags.FLAGS.attack not in ("carlini_wagner", "pgd")
    else classifiers.load_jax
  )(common.DATASET.value)
  test = common.test_images(model)
  chosen, images = common.correctly_classified(model, test, NUM_IMAGES.value)
  others = {
    recipe: classifiers.load_or_train(common.DATASET.value, recipe)
    for recipe in dict.fromkeys(variant.substitute for variant in planned)
    if recipe
  }
  cells = []
  for variant in planned:
    with jax.enable_x64(variant.float64):
      cells.append(
        make_cell(model, others.get(variant.substitute), test.labels, chosen, images, variant)
      )
  with jax.enable_x64(planned[0].float64):
    slots = SLOTS_PER_DEVICE.value or runner.choose_slots(planned[0].attack, *cells[0][1:])
  request = (
    common.asked(
      model,
      {
        **attack_flags.resolved(),
        "variance": variances(),
        "substitutes": {other.name: other.fingerprint for other in others.values()},
        "slots_per_device": slots,
        "rows_per_call": classifiers.rows_per_call(model.image_shape),
      },
    ),
    common.about(
      training=model.training, substitutes=[other.training for other in others.values()]
    ),
  )
  if jax.process_index() == 0:
    records.check_manifest(OUT.value, *request)
    common.defended_accuracy(OUT.value, threat_model(model.clean), model, test, variances())
  common.wait_for_all("the folder is ready")
  records.check_manifest(OUT.value, *request)
  ledger = records.Ledger(OUT.value, jax.process_index(), jax.process_count())
  done = {records.identity(record) for record in ledger.records}
  left = [
    [task for task in cell.tasks if records.identity(task.identity) not in done] for cell in cells
  ]
  common.wait_for_all("every process knows what is left")
  num_tasks, num_left = (sum(map(len, tasks)) for tasks in ([c.tasks for c in cells], left))
  print(f"{num_tasks} trials, {num_tasks - num_left} of them done before", flush=True)
  kept = sorted({task.index for task in cells[0].tasks})[: NUM_PICTURES.value]
  for number, (cell, todo) in enumerate(zip(cells, left)):
    plan = runner.Plan(
      slots,
      CHUNK.value,
      snapshot=str(pathlib.Path(OUT.value, f"snapshot-{jax.process_index()}-{number}.npz")),
    )
    with jax.enable_x64(cell.variant.float64):
      for outcome in runner.run(
        cell.variant.attack,
        cell.variant.objective,
        cell.threats,
        cell.variables,
        todo,
        seed=common.SEED.value,
        max_queries=attack_flags.resolved()["max_queries"],
        plan=plan,
      ):
        if outcome.task.index in kept and outcome.task.run == 0:
          common.keep_picture(OUT.value, outcome)
        ledger.append(common.record(outcome))

  if common.wait_for_all("all trials are done"):
    report(cells)
  common.wait_for_all("the report is written")
