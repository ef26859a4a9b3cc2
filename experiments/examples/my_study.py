"""Your own study: any attack against any defense, on the engine, with a ledger.

    python experiments/examples/my_study.py
    python experiments/plot_figures.py --records=runs/my_study

Kill it and run it again: it goes on where it was. Another attack in the same folder is refused.
"""

import itertools

import jax
import my_defense
import my_model

from orjax import attacks
from orjax import datasets
from orjax import engine
from orjax import evaluation
from orjax import objectives
from orjax import oracles
from orjax import records
from orjax import threats

SEED, NUM_IMAGES, MAX_QUERIES = 0, 10, 500


def main(out="runs/my_study"):
  """Square against rounded answers of a linear model."""
  test = datasets.load("digits", "test")
  apply, variables, _, _ = my_model.factory()
  defense, objective = my_defense.factory(), objectives.log_margin()
  attack = attacks.square(objective, **attacks.presets.square("digits"))
  predict = lambda variables, images: jax.nn.softmax(apply(variables, images))
  classifier = lambda variables: oracles.from_predict(predict, variables)
  threat_model = threats.threat_model(classifier, defense)

  records.make_folder(out)
  request = {"attack": repr(attack), "num_images": NUM_IMAGES, "max_queries": MAX_QUERIES}
  records.check_manifest(out, request, {"axis": defense.axis})
  classes_of = evaluation.class_predictor(lambda v, key, x: classifier(v).query(key, x))
  defended_classes = evaluation.class_predictor(
    lambda pair, key, images: threat_model.defended(*pair).query(key, images)
  )
  accuracy = {}
  for strength in defense.default:
    classes = defended_classes(
      (variables, defense.settings(strength)), jax.random.key(SEED), test.images
    )
    share = float((classes == test.labels).mean())
    accuracy[records.strength_key(strength)] = {"accuracy": share, "num_images": len(classes)}
  records.write_accuracy(out, accuracy)

  classes = classes_of(variables, jax.random.key(SEED), test.images)
  chosen = datasets.correctly_classified(classes, test.labels, NUM_IMAGES)
  tasks = []
  for strength, index in itertools.product(defense.default, map(int, chosen)):
    label = int(test.labels[index])
    trial = {
      "dataset": "digits",
      "model": "my_model",
      "trained_with": None,
      "defense": defense.name,
      "strength": float(strength),
      "attack": "square",
      "targeted": False,
      "num_samples": 1,
      "seed": SEED,
      "run": 0,
      "index": index,
      "label": label,
      "target": None,
      "setting": {},
    }
    image = datasets.to_float(test.images[index])
    tasks.append(engine.Task(trial, image, label, 0, index, defense.settings(strength)))
  ledger = records.Ledger(out)
  left = [records.identity(trial) for trial in records.missing(out, [t.identity for t in tasks])]
  for outcome in engine.run(
    attack,
    objective,
    threat_model,
    variables,
    [task for task in tasks if records.identity(task.identity) in left],
    seed=SEED,
    max_queries=MAX_QUERIES,
    plan=engine.Plan(slots_per_device=10),
  ):
    ledger.append(records.record(outcome))


if __name__ == "__main__":
  main()
