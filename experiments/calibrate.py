"""How much output noise may a classifier add for a wanted misclassification rate?

    python experiments/calibrate.py --dataset=mnist --misclassification_rate=0.01

Prints, for a stddev shared by all test images and for one per image, the noise of least
caution that keeps the rate, and the rate measured with one noisy answer per test image.
Writes calibration.json and table.md to --out.
"""

import pathlib

from absl import flags
import classifiers
import common
import jax
import jax.numpy as jnp
import numpy as np
import tables

from orjax import datasets
from orjax import oracles
from orjax import records
from orjax import theory

_RATE = flags.DEFINE_multi_float(
  "misclassification_rate",
  [0.01],
  "Wanted share of answers that noise changes; repeat the flag for a sweep.",
)
_OUT = flags.DEFINE_string("out", "runs/calibrate", "Folder for the results.")


def main():
  for rate in _RATE.value:
    if not 0 < rate < 0.5:
      raise ValueError(f"--misclassification_rate={rate:g} must be between 0 and 0.5")
  records.make_folder(_OUT.value)
  model = classifiers.load_deterministic(common.DATASET.value)
  test = common.test_images(model)
  predict = jax.jit(lambda v, x: model.clean(v).query(None, x))
  with oracles.full_precision():
    probs = jnp.concatenate(
      [
        predict(model.variables, datasets.to_float(test.images[i : i + 500]))
        for i in range(0, len(test.images), 500)
      ]
    )
  classes, key = probs.argmax(-1), jax.random.key(common.SEED.value)
  calibrate = jax.jit(theory.calibrate, static_argnames="per_image")
  rows, found = [], []
  for rate in _RATE.value:
    for per_image in (False, True):
      stddev = calibrate(probs, rate, per_image=per_image)
      key, noise_key = jax.random.split(key)
      scale = jnp.minimum(stddev, 1e6) if per_image else stddev
      noise = jax.random.normal(noise_key, probs.shape) * jnp.reshape(scale, (-1, 1))
      answers = np.asarray((probs + noise).argmax(-1))
      changed = int((answers != np.asarray(classes)).sum())
      low, high = records.wilson(changed, len(probs))
      accuracy = float((answers == test.labels).mean())
      middle = float(jnp.median(stddev))
      rows.append(
        [
          f"{rate:g}",
          "per image (median)" if per_image else "shared",
          f"{middle:.4g}",
          f"{middle**2:.4g}",
          f"{changed / len(probs):.4f} [{low:.4f}, {high:.4f}]",
          f"{accuracy:.4f}",
        ]
      )
      found.append(
        {
          "rate": rate,
          "per_image": per_image,
          "stddev": middle,
          "num_images": len(probs),
          "num_changed": changed,
          "interval": (low, high),
          "accuracy": accuracy,
        }
      )
  table = tables.markdown(
    ["wanted rate", "noise", "stddev", "variance", "measured rate (95 %)", "accuracy"], rows
  )
  print(
    f"{common.DATASET.value}, {len(probs)} test images, accuracy without noise "
    f"{float((np.asarray(classes) == test.labels).mean()):.4f}\n{table}"
  )
  out = pathlib.Path(_OUT.value)
  (out / "table.md").write_text(table + "\n")
  records.write_json(out / "calibration.json", {"about": common.about(), "found": found})


if __name__ == "__main__":
  common.run(main)
