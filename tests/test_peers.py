"""Beside the tool that people use today, where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import defenses
from orjax.types import Oracle

_STDDEV = 0.1
_ROW = np.float32([0.99, 0.004, 0.003, 0.002, 0.001])


def test_the_mean_of_noisy_answers_is_the_answer_and_of_clipped_ones_is_not():
  """ART's GaussianNoise clips at 0 and renormalises, which takes a tenth off the top class."""
  postprocessor = pytest.importorskip("art.defences.postprocessor")
  rows = np.tile(_ROW, (20_000, 1))
  ours = defenses.output_noise().wrap(
    Oracle(lambda key, images: jnp.asarray(images)), {"stddev": np.float32(_STDDEV)}
  )
  standard_error = _STDDEV / np.sqrt(len(rows))
  bias = np.asarray(ours.query(jax.random.key(0), rows)).mean(0) - _ROW
  assert np.abs(bias).max() < 5 * standard_error
  np.random.seed(0)
  theirs = postprocessor.GaussianNoise(scale=_STDDEV)(rows).mean(0) - _ROW
  assert theirs[0] < -0.05 and theirs[1:].min() > 0.01
