"""Does the law of probe lengths predict what attacks pay? Its queries over those they used.

    python experiments/query_law.py --dataset=mnist --records=DIR/ql/plain \\
        --records=DIR/ql/wide --records=DIR/spsa/published

The folders are those of blackbox_attacks.py with attacks that estimate a gradient in an l_inf ball
(ql, spsa) through noise on probabilities, of the classifier that the flags describe. For every
attacked image the slope of the loss is measured at the attack's own probes, and its noise;
`theory.nes_queries` then says how many queries one estimate takes that is good enough to cross the
boundary in one step: from the image, or from a point --on_the_way, where noise may hide less.
Writes query_law.json, query_law.md and query_law.png to --out.
"""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from harness import app
from harness import classifiers
from harness import data
from harness import defenses
from harness import request
from harness.attacks import shared
from harness.report import ledgers
from harness.report import query_law as report
from harness.report.figures import theory
from harness.request import Option
from harness.studies import query_law
from orjax import datasets
from orjax import files
from orjax import records

OPTIONS = [
  *data.DATASET,
  *classifiers.OPTIONS,
  Option("records", "string", [], "folder of records", request.WHAT, science=False, many=True),
  Option("num_images", "integer", 20, "of those attacked, the first", request.HOW_MUCH, low=1),
  Option(
    "on_the_way",
    "float",
    0.0,
    "ask the law at a point on the way, not at the image: so much of the radius along the signs of "
    "the gradient",
    request.WHAT,
    low=0,
    high=1,
  ),
  app.SEED,
  app.out("runs/query_law"),
]


class LawRequest(NamedTuple):
  """Which classifier, and which attacks on it."""

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  directories: list[str]
  num_images: int
  on_the_way: float
  seed: int
  out: str


def read(values: request.Values) -> LawRequest:
  """The request that the flags make.

  Raises:
    ValueError: it names no folder, or a model outside JAX.
  """
  if not values["records"]:
    raise ValueError("--records is missing: pass the --out of attacks, once for each folder")
  images = data.read(values)
  classifier = classifiers.read(values, images)
  if classifier.host_model:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  return LawRequest(
    images, classifier, values["records"], **values.named("num_images", "on_the_way", "seed", "out")
  )


def _check(ledger, images, model):
  """Refuses folders that the law says nothing of."""
  asked, where = ledger.request, ledger.directory
  if asked["attack"] not in query_law.PROBES:
    raise ValueError(
      f"{where} is of {asked['attack']}: the law is of attacks that estimate a gradient in a ball, "
      f"{' and '.join(query_law.PROBES)}"
    )
  plain = {
    "norm": "linf",
    "targeted": False,
    "answers": "probabilities",
    "server_clips": False,
    "num_samples": [1],
    "ensemble": 1,
  }
  for name, value in plain.items():
    if asked.get(name, value) != value:
      raise ValueError(f"{where} has {name}={asked[name]}: the law is of {name}={value} here")
  if asked["defense"] not in ("output_noise", "none") or asked["objective"] == "cross_entropy":
    raise ValueError(
      f"{where} is of {asked['objective']} through {asked['defense']}: the law is of a margin "
      f"through output_noise"
    )
  if varied := ledgers.varied(ledger.records, "run"):
    raise ValueError(f"{where} sweeps {varied[0]}: the law is of one attack, pass each alone")
  if asked["model"] != model.fingerprint:
    raise ValueError(f"{where} is of another classifier: pass the flags that describe it")
  if (asked["dataset"], asked.get("data")) != (images.name, data.fingerprint(images)):
    raise ValueError(f"{where} is of other images: pass the flags that describe them")


def _of_folder(asked, ledger, model, test):
  """Rows of the report: one a strength, over the images."""
  wanted = ledger.request
  defense, _ = defenses.load(defenses.read_name(wanted["defense"]))
  strengths = ledgers.strengths(ledger.records)
  probes = query_law.PROBES[wanted["attack"]](wanted)
  objective = shared.objective(wanted, frozenset(), False)
  place = query_law.measure(
    model, objective, defense, strengths, probes, wanted["radius"], asked.on_the_way
  )
  indices = sorted({record["index"] for record in ledger.records})[: asked.num_images]
  found = []
  for index in indices:
    image = jnp.asarray(datasets.to_float(test.images[index]))
    key = jax.random.fold_in(jax.random.key(asked.seed), index)
    there = place(key, image, jnp.int32(test.labels[index]))
    found.append(query_law.predicted(there, probes, wanted["radius"], image.size))
  by_strength = dict(zip(strengths, np.transpose(found)))
  return [report.row(ledger, indices, s, by_strength[s]) for s in strengths]


def main(asked: LawRequest) -> None:
  """Measures, predicts, and compares."""
  folders = [ledgers.load(directory) for directory in asked.directories]
  model = classifiers.load(asked.classifier, asked.images, asked.seed)
  if model.random:
    raise ValueError("--model is random, and has no one slope: pass it without its noise")
  for ledger in folders:
    _check(ledger, asked.images, model)
  test = data.test_images(
    asked.images, model.image_shape, limited=False, trained_here=asked.classifier.recipe is not None
  )
  records.make_folder(asked.out)
  rows = [row for ledger in folders for row in _of_folder(asked, ledger, model, test)]
  out = pathlib.Path(asked.out)
  records.write_json(out / "query_law.json", {"about": app.about(), "rows": rows})
  text = report.table(rows)
  files.write_text(out / "query_law.md", text + "\n")
  theory.query_law(rows, out / "query_law.png")
  print(f"{text}\nfigure: {out / 'query_law.png'}")


if __name__ == "__main__":
  app.run(OPTIONS, read, main)
