"""No attack of the panel takes noise for success, once it votes."""

import jax.numpy as jnp
import numpy as np
import panel
import pytest

from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax import theory
from orjax.types import Oracle

MARGIN = objectives.margin(confidence=np.inf)
STDDEV = 0.24
# A pilot of a few steps, and then as many of the attack.
_MEASURED = {"confirmations": 20, "pilot": attacks.Pilot(num_lines=1, num_directions=1)}


def _unmoved():
  """A classifier of ten classes that is as sure of class 0 whatever it is shown."""
  answer = jnp.asarray([0.9] + [0.1 / 9] * 9, jnp.float32)
  return Oracle(lambda key, images: jnp.broadcast_to(answer[None], (len(images), 10)))


def _lead():
  """The lead for one false claim in a hundred trials at this noise."""
  answer = jnp.asarray([0.9] + [0.1 / 9] * 9, jnp.float32)
  rate = float(theory.exact_misclassification_rate(answer, STDDEV))
  return max(int(theory.vote_lead(rate, 0.01 / 2)), 2)


def _evolution(lead):
  pytest.importorskip("evosax", reason="evosax, of the extra `evolution`, is not installed")
  return attacks.evolution(MARGIN, population_size=8, num_frequencies=3, lead=lead)


@pytest.mark.parametrize(
  "make",
  [
    lambda lead: attacks.square(MARGIN, comparison="sequential", lead=lead),
    lambda lead: attacks.square(MARGIN, lead=lead),
    lambda lead: attacks.sign_hunter(MARGIN, comparison="asked_again", lead=lead),
    lambda lead: attacks.spsa(MARGIN, num_pairs=2, lead=lead),
    lambda lead: attacks.rays(MARGIN, lead=lead),
    lambda lead: attacks.pop_skip_jump(MARGIN, lead=lead),
    lambda lead: attacks.label_only(MARGIN, num_pairs=2, num_proxies=2, lead=lead),
    lambda lead: attacks.partial_information(objectives.cross_entropy(), num_pairs=2, lead=lead),
    lambda lead: attacks.ql(MARGIN, num_pairs=2, confirmations=4 * lead + 1),
    lambda lead: attacks.bandits(MARGIN, prior_size=2, confirmations=4 * lead + 1),
    _evolution,
    lambda lead: attacks.square(MARGIN, comparison="asked_again", lead=lead),
    lambda lead: attacks.sign_hunter(MARGIN, comparison="sequential", lead=lead),
    lambda lead: attacks.apgd(MARGIN, num_draws=4, comparison="same_draws", lead=lead),
    lambda lead: attacks.informed_nes(MARGIN, num_pairs=2, **_MEASURED),
    lambda lead: attacks.informed_zoo(MARGIN, num_coordinates=2, **_MEASURED),
  ],
  ids=[
    *("sequential", "cached", "sign_hunter", "spsa", "rays", "pop_skip_jump"),
    *("label_only", "partial_information", "confirmed", "bandits", "evolution"),
    *("asked_again", "tested_sign_hunter", "same_draws", "informed_nes", "informed_zoo"),
  ],
)
def test_what_cannot_be_fooled_is_not_claimed(make):
  images = np.full((200, 4, 4, 1), 0.5, np.float32)
  labels = np.zeros(200, np.int32)
  noisy = oracles.with_output_noise(_unmoved(), STDDEV)
  result = panel.run(make(_lead()), noisy, images, labels, 300)
  assert np.mean(result.claimed) <= 0.01


def test_single_looks_claim_it():
  """The same, believed at once."""
  images = np.full((200, 4, 4, 1), 0.5, np.float32)
  labels = np.zeros(200, np.int32)
  noisy = oracles.with_output_noise(_unmoved(), STDDEV)
  for attack in (attacks.square(MARGIN), attacks.rays(MARGIN)):
    result = panel.run(attack, noisy, images, labels, 300)
    assert np.mean(result.claimed) > 0.9
  assert jnp.isfinite(result.loss).all()
