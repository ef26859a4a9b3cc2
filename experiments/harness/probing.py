"""Is what a user hands in a function of an image? Looked at once, before any attack."""

import jax
import jax.numpy as jnp
import numpy as np

from harness.classifiers.model import Model
from orjax import border
from orjax import datasets
from orjax.threats import Defense
from orjax.threats import threat_model
from orjax.threats import traced

_LOOKS = 10  # of a model outside JAX at each of two images


def check_model(model: Model, test: datasets.Dataset) -> None:
  """Looks at a user's model in JAX.

  Args:
    model: any; one of orjax's own is known.
    test: images, of which the first few are asked about.

  Raises:
    ValueError: an answer depends on what else is in the batch, or on undeclared randomness.
  """
  if model.users:
    border.check_function(model.clean(model.variables), _some(test), "--model")


def check_defense(model: Model, defense: Defense, strength: float, test: datasets.Dataset) -> None:
  """Looks at a user's defense, at one strength; it may be random, by its key.

  Raises:
    ValueError: its answers depend on a randomness that is no key's.
  """
  if model.logits is None:
    return
  setting = traced(defense.settings(strength))
  defended = threat_model(model.clean, defense).defended(model.variables, setting)
  border.check_function(defended._replace(random=True), _some(test), "--defense")


def _some(test):
  return jnp.asarray(datasets.to_float(test.images[:4]))


def spread(model: Model, test: datasets.Dataset) -> float:
  """Largest stddev of the answers of a model outside JAX to one image, asked ten times."""
  images = np.repeat(datasets.to_float(test.images[:2]), _LOOKS, axis=0)
  rows = np.asarray(model.clean(model.variables).query(jax.random.key(0), jnp.asarray(images)))
  return float(rows.reshape(-1, _LOOKS, rows.shape[-1]).std(1).max())


def about(found: float, has_judge: bool) -> str:
  """What is said of such a spread."""
  if not found > 1e-6:
    return "the server answers an image the same each time"
  judges = "--judge says what is adversarial"
  if not has_judge:
    judges = "it judges itself, by one random answer: pass --judge, the undefended model"
  return f"the server is random (stddev {found:.2g} of the answers to one image): {judges}"
