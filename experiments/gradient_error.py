"""How far output noise throws an estimated gradient: the paper's Figure 9, and beyond.

    python experiments/gradient_error.py --dataset=mnist

For every image the l2 norm of (finite-difference gradient of the undefended model minus
that of the defended one) over all pixels: the paper's log loss and the linear margin, at
h = 1e-4 and at a large h; at the image and at the classifier's boundary, where attacks
spend their time. Writes gradient_error.json, table.md and figure9.png to --out.
"""

import math
import pathlib

from absl import flags
import classifiers
import common
import jax
import jax.numpy as jnp
import numpy as np
import plot_theory
import tables

from orjax import attacks
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax import records

_VARIANCE = flags.DEFINE_multi_float(
  "variance",
  [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
  "Variance of the output noise.",
  lower_bound=1e-12,
)
_SPACING = flags.DEFINE_multi_float(
  "spacing", [1e-4, 0.1], "Step h of the central differences.", lower_bound=1e-12
)
_NUM_IMAGES = flags.DEFINE_integer("num_images", 20, "Images.", lower_bound=2)
_OUT = flags.DEFINE_string("out", "runs/gradient_error", "Folder for the results.")

_OBJECTIVES = {
  "log margin": objectives.log_margin(),
  "linear margin": objectives.margin(confidence=1),
}


def gradient(variables, apply, name, spacing, key, image, label, stddev):
  """Finite differences over all pixels of one image through noise of one stddev."""
  objective = _OBJECTIVES[name]
  oracle = oracles.with_output_noise(
    oracles.from_predict(lambda v, x: jax.nn.softmax(apply(v, x)), variables), stddev
  )

  return (
    estimators.finite_difference(num_coordinates=image.size, spacing=spacing)
    .estimate(key, objectives.asked(objective, oracle, label), image)
    .gradient
  )


def boundary(model, key, images, labels):
  """Images on the way to noisy, misclassified ones where the class changes."""
  predict = jax.jit(lambda x: model.apply(model.variables, x).argmax(-1) != labels)
  start = attacks.low_frequency_noise()
  far, outside = images, np.zeros(len(images), bool)
  for number in range(100):
    keys = jax.random.split(jax.random.fold_in(key, number), len(images))
    drawn = jax.vmap(start)(keys, images)
    far = jnp.where(outside[:, None, None, None], far, drawn)
    outside |= np.asarray(predict(drawn))
  if not outside.all():
    raise ValueError(
      "no misclassified image was found near some images: raise the number "
      "of test images, or train the classifier"
    )
  low, high = jnp.zeros(len(images)), jnp.ones(len(images))
  for _ in range(20):
    middle = (low + high) / 2
    share = middle[:, None, None, None]
    wrong = predict((1 - share) * images + share * far)
    low, high = jnp.where(wrong, low, middle), jnp.where(wrong, middle, high)
  share = low[:, None, None, None]
  return (1 - share) * images + share * far


def measure(model, name, spacing, key, images, labels):
  """Error norms [variance, image] and true norms [image].

  All estimators see the same noise, so that they differ by what they do with it.
  """
  stddevs = jnp.sqrt(jnp.asarray([0.0, *_VARIANCE.value], jnp.float32))

  @jax.jit
  def norms(variables, key, image, label):
    # The points, and so the forward pass, are those of one gradient for all variances.
    found = jax.vmap(
      lambda stddev: gradient(variables, model.apply, name, spacing, key, image, label, stddev)
    )(stddevs)
    return jax.vmap(geometry.l2)(found - found[:1]), geometry.l2(found[0])

  found = [
    norms(model.variables, jax.random.fold_in(key, i), image, label)
    for i, (image, label) in enumerate(zip(images, labels))
  ]
  errors, true = (np.array(x, np.float64) for x in zip(*found))
  return errors[:, 1:].T, true


def main():
  for flag in (_VARIANCE, _SPACING):
    if not all(math.isfinite(value) for value in flag.value):
      raise ValueError(f"--{flag.name} must be finite and above 0")
  records.make_folder(_OUT.value)
  out = pathlib.Path(_OUT.value)
  start_key, noise_key = jax.random.split(jax.random.key(common.SEED.value))
  model = classifiers.load_deterministic(common.DATASET.value)
  test = common.test_images(model)
  chosen, images = common.correctly_classified(model, test, _NUM_IMAGES.value)
  images = jnp.asarray(images)
  labels = jnp.asarray(test.labels[chosen]).astype(jnp.int32)
  places = {"at the image": images, "at the boundary": boundary(model, start_key, images, labels)}
  found, rows = {}, []
  for place, where in places.items():
    found[place] = {}
    for name in _OBJECTIVES:
      for spacing in _SPACING.value:
        errors, true = measure(model, name, spacing, noise_key, where, labels)
        found[place][f"{name}, h = {spacing:g}"] = errors, true
        for variance, e in zip(_VARIANCE.value, errors):
          relative = np.divide(e, true, where=true > 0, out=np.full_like(e, np.inf))
          rows.append(
            [
              place,
              name,
              f"{spacing:g}",
              f"{variance:g}",
              f"{true.mean():.3g}",
              f"{e.mean():.3g} ± {1.96 * e.std(ddof=1) / np.sqrt(len(e)):.2g}",
              f"{np.median(relative):.3g}",
            ]
          )
  table = tables.markdown(
    [
      "where",
      "loss",
      "h",
      "variance",
      "gradient norm",
      "mean error norm (95 %)",
      "median error / gradient",
    ],
    rows,
  )
  print(table)
  (out / "table.md").write_text(f"{table}\n\n{len(images)} images.\n")
  records.write_json(
    out / "gradient_error.json",
    {
      "about": common.about(),
      "variances": _VARIANCE.value,
      "indices": chosen.tolist(),
      "errors": {
        place: {name: {"errors": e.tolist(), "true": t.tolist()} for name, (e, t) in curves.items()}
        for place, curves in found.items()
      },
    },
  )
  plot_theory.gradient_errors(_VARIANCE.value, found, common.DATASET.value, out / "figure9.png")
  print(f"figure: {out / 'figure9.png'}")


if __name__ == "__main__":
  common.run(main)
