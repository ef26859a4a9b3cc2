"""Attacks a classifier through a randomized output; success against noise variance.

    python experiments/blackbox_attacks.py
    python experiments/blackbox_attacks.py --dataset=mnist --variance=0 --variance=1e-4

Trains the classifier first if there is none. Interrupted, it resumes; finished, it
prints its table again. Writes records.jsonl, manifest.json, accuracy.json, table.md,
figure2.png and pictures.png to --out.
"""

import math
import pathlib

from absl import flags
import jax
import numpy as np

import attack_flags
import common
import plot_figures
import tables
from orjax import datasets
from orjax import engine
from orjax import oracles
from orjax import records
from orjax import runner
from orjax import verification

VARIANCE = flags.DEFINE_multi_float(
    "variance", [0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1], "Variance of the output noise; repeat "
    "the flag for a sweep.")
NUM_IMAGES = flags.DEFINE_integer(
    "num_images", 20, "Correctly classified test images to attack.", lower_bound=1)
NUM_RUNS = flags.DEFINE_integer("num_runs", 1, "Repeats of every attack.", lower_bound=1)
NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 1, "Answers that the attacker averages per query.", lower_bound=1)
ALL_TARGETS = flags.DEFINE_bool(
    "all_targets", False, "Targeted: attack all other classes, not one drawn per image.")
OUT = flags.DEFINE_string("out", "runs/blackbox_attacks", "Folder for the records.")
NUM_PICTURES = flags.DEFINE_integer(
    "num_pictures", 4, "Images of the first run kept for pictures.png.", lower_bound=0)

# For speed. The number of slots is the shape of the network's batch, on which rounding may
# depend, so a folder keeps to one; any number of devices and any chunk give the same bits.
SLOTS_PER_DEVICE = flags.DEFINE_integer(
    "slots_per_device", None, "For speed: trials at a time on each device (default: "
    "what fills it). A folder of records keeps to one value.", lower_bound=1)
CHUNK = flags.DEFINE_integer(
    "chunk", 50, "Speed only: attack steps between two looks.", lower_bound=1)


def check_flags():
  for variance in VARIANCE.value:
    if not 0 <= variance < math.inf:
      raise ValueError(f"--variance={variance:g} is no variance: pass 0 or more")
  if len(set(VARIANCE.value)) < len(VARIANCE.value):
    raise ValueError("--variance names a value twice: pass each once")


def threat_model(apply):
  """The classifier, what the server adds, what the attacker does about it."""

  def clean(variables):
    return oracles.from_predict(lambda v, x: jax.nn.softmax(apply(v, x)), variables)

  def defended(variables, setting):
    return oracles.with_output_noise(clean(variables), setting["stddev"])

  def asked(variables, setting):
    return oracles.averaged(defended(variables, setting), NUM_SAMPLES.value)

  return engine.ThreatModel(clean, defended, asked)


def make_tasks(model, test, threats):
  """One task per variance, run, image and target, with its record's first fields."""
  classes = verification.predict_classes(
      lambda variables, key, x: threats.clean(variables).query(key, x), model.variables,
      jax.random.key(0), test.images)
  chosen = datasets.correctly_classified(classes, test.labels, NUM_IMAGES.value)
  images = datasets.to_float(test.images[chosen])
  tasks = []
  for variance in VARIANCE.value:
    for index, image in zip(chosen.tolist(), images):
      label = int(test.labels[index])
      wanted = [None] if not attack_flags.TARGETED.value else datasets.targets(
          common.SEED.value, index, label, model.classifier.num_classes,
          draw=not ALL_TARGETS.value)
      for target in wanted:
        for run in range(NUM_RUNS.value):
          identity = {
              "dataset": common.DATASET.value, "model": model.name,
              "defense": "output_noise", "variance": variance,
              "attack": attack_flags.ATTACK.value,
              "targeted": attack_flags.TARGETED.value, "num_samples": NUM_SAMPLES.value,
              "seed": common.SEED.value, "run": run, "index": index, "label": label,
              "target": target, "setting": {}}
          # Without noise an attack goes on for longest.
          tasks.append(runner.Task(identity, image, label if target is None else target,
                                   run, index, {"stddev": np.float32(math.sqrt(variance))},
                                   expected_steps=1 / (1e-12 + variance)))
  return tasks


def main():
  check_flags()
  attack, objective = attack_flags.build()
  attack_flags.check(attack, NUM_SAMPLES.value)
  records.make_folder(OUT.value)
  test = datasets.load(common.DATASET.value, "test", common.DATA_DIR.value)
  model = common.load_or_train(common.DATASET.value)
  threats = threat_model(model.classifier.apply)
  tasks = make_tasks(model, test, threats)
  slots = SLOTS_PER_DEVICE.value or runner.choose_slots(
      attack, threats, model.variables, tasks)
  request = (common.asked(model, {
      **attack_flags.resolved(), "slots_per_device": slots}), common.about())
  if jax.process_index() == 0:
    records.check_manifest(OUT.value, *request)
    common.defended_accuracy(OUT.value, threats, model, test, VARIANCE.value)
  common.wait_for_all("the folder is ready")
  records.check_manifest(OUT.value, *request)
  ledger = records.Ledger(OUT.value, jax.process_index(), jax.process_count())
  done = {records.identity(record) for record in ledger.records}
  left = [task for task in tasks if records.identity(task.identity) not in done]
  common.wait_for_all("every process knows what is left")
  print(f"{len(tasks)} trials, {len(tasks) - len(left)} of them done before", flush=True)
  kept = sorted({task.index for task in tasks})[:NUM_PICTURES.value]
  plan = runner.Plan(slots, CHUNK.value, snapshot=str(
      pathlib.Path(OUT.value, f"snapshot-{jax.process_index()}.npz")))
  for outcome in runner.run(
      attack, objective, threats, model.variables, left, seed=common.SEED.value,
      max_queries=attack_flags.resolved()["max_queries"], plan=plan):
    if outcome.task.index in kept and outcome.task.run == 0:
      common.keep_picture(OUT.value, outcome)
    ledger.append(common.record(outcome))

  if not common.wait_for_all("all trials are done"):
    return
  missing = len(tasks) - len(records.read(OUT.value))
  if missing:
    raise ValueError(f"{missing} trials are missing in {OUT.value}: run the command again")
  table = tables.blackbox(OUT.value)
  print(table)
  pathlib.Path(OUT.value, "table.md").write_text(table + "\n")
  for path in plot_figures.draw([OUT.value], OUT.value):
    print(f"figure: {path}")


if __name__ == "__main__":
  common.run(main)
