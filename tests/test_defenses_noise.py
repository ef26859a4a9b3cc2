"""Noise on logits and per class, and behind gates: laws, which also reject other constants."""

from echo import answers_for
from echo import as_images
from echo import centred
from echo import echo_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from orjax import defenses
from orjax import records
from orjax import theory


def _answers(wrap, probs, seed=1):
  """What a defense makes of answers [B, K]."""
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), as_images(probs)))


def _follows(noise, stddev):
  """Whether noise is N(0, stddev^2), and neither N(0, (2/3 stddev)^2) nor N(0, (3/2 stddev)^2)."""
  pvalue = lambda scale: stats.kstest(np.ravel(noise) / (scale * stddev), stats.norm.cdf).pvalue
  return pvalue(1) > 1e-3 and pvalue(2 / 3) < 1e-6 and pvalue(3 / 2) < 1e-6


def _difference(answers, probs):
  """Noise on the first logit minus noise on the second, of every row."""
  logs = np.log(np.asarray(answers, np.float64)) - np.log(np.asarray(probs, np.float64))
  return logs[:, 0] - logs[:, 1]


@pytest.mark.parametrize("stddev", [0.1, 1.0])
def test_noise_on_the_logits(stddev):
  probs = answers_for(0, 3000, 10)
  answers = _answers(lambda oracle: defenses.with_logit_noise(oracle, stddev), probs)
  np.testing.assert_allclose(answers.sum(-1), 1, rtol=1e-5)
  noise = _difference(answers, probs)
  assert _follows(noise, stddev * np.sqrt(2))
  assert not _follows(noise, stddev)  # as one noise for all classes would not even show
  rows = centred(np.log(answers)) - centred(np.log(probs))
  assert np.abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.08
  assert np.abs(np.corrcoef(rows[:, :2].T)[0, 1] + 1 / 9) < 0.08


def test_noise_on_the_logits_per_class():
  probs = answers_for(0, 3000, 3)
  stddev = np.array([0.3, 0.4, 0.0], np.float32)
  answers = _answers(lambda oracle: defenses.with_logit_noise(oracle, stddev), probs)
  assert _follows(_difference(answers, probs), 0.5)
  assert _follows(_difference(answers[:, [0, 2]], probs[:, [0, 2]]), 0.3)


def test_calibrated_noise_lets_a_rival_overtake_at_its_rate_whatever_the_margin():
  probs = np.array([[0.99, 0.01], [0.6, 0.4], [0.501, 0.499]], np.float32)
  z = stats.norm.ppf(0.05)
  for row in probs:
    rows = np.broadcast_to(row, (4000, 2))
    answers = _answers(lambda oracle: defenses.with_calibrated_noise(oracle, 0.05), rows)
    stddev = (row[0] - row[1]) / -z
    assert _follows((answers - row)[:, 0], stddev / np.sqrt(2))
    assert _follows((answers - row) @ [1, -1], stddev)
    wrong = (answers.argmax(-1) == 1).sum()
    low, high = records.wilson(wrong, 4000, z=3.9)
    assert low <= 0.05 <= high
    printed = np.sqrt((row[0] - row[1]) / (-2 * z))  # the formula of section 5.1 as printed
    assert not low <= stats.norm.cdf(-(row[0] - row[1]) / (printed * np.sqrt(2))) <= high


def test_calibrated_noise_keeps_the_rate_over_all_rivals():
  probs = np.broadcast_to(np.float32([0.5, 0.2, 0.1, 0.1, 0.1]), (20000, 5))
  answers = _answers(lambda oracle: defenses.with_calibrated_noise(oracle, 0.1), probs)
  share = 1 - 0.9 ** (1 / 4)
  for rival in range(1, 5):
    low, high = records.wilson((answers[:, rival] > answers[:, 0]).sum(), 20000, z=3.9)
    assert low <= share <= high
  assert share < (answers.argmax(-1) != 0).mean() <= 0.1
  rates = np.float32([0, 0.2, 0.05, 0, 0.01])
  answers = _answers(lambda oracle: defenses.with_calibrated_noise(oracle, rates), probs)
  for rival in range(1, 5):
    overtaken = (answers[:, rival] > answers[:, 0]).sum()
    low, high = records.wilson(overtaken, 20000, z=3.9)
    assert low <= rates[rival] + 1e-12 and rates[rival] <= high
  assert not (answers[:, 3] > answers[:, 0]).any()
  assert np.isnan(
    _answers(lambda oracle: defenses.with_calibrated_noise(oracle, 0.99), probs)
  ).all()


def test_noise_per_named_class_is_calibrated_by_the_theory():
  probs = answers_for(5, 120, 3)
  calibrate = jax.jit(theory.calibrate, static_argnames=("per_class",))
  stddev = np.asarray(calibrate(probs, 0.05, per_class=True))
  assert stddev.shape == (3,) and (stddev > 0).all()
  np.testing.assert_allclose(stddev[1], calibrate(probs[probs.argmax(-1) == 1], 0.05), rtol=1e-3)
  rates = calibrate(probs, np.float32([0.01, 0.05, 0.2]), per_class=True)
  np.testing.assert_allclose(rates[1], stddev[1], rtol=1e-3)
  assert rates[0] < stddev[0] and rates[2] > stddev[2]
  many = np.repeat(probs, 100, axis=0)
  answers = _answers(lambda oracle: defenses.with_class_noise(oracle, stddev), many)
  assert _follows((answers - many) / stddev[many.argmax(-1)][:, None], 1)
  for number in range(3):
    own = many.argmax(-1) == number
    low, high = records.wilson((answers[own].argmax(-1) != number).sum(), own.sum(), z=3.9)
    assert low <= 0.05 <= high


def test_a_class_that_nobody_names_may_have_any_noise():
  stddev = theory.calibrate(jnp.array([[0.9, 0.1, 0.0]]), 0.1, per_class=True)
  assert np.isfinite(stddev[0]) and np.isinf(stddev[1:]).all()
  assert defenses.class_noise(lambda rate: stddev).settings(0.1)["stddev"].max() == 1e6


def test_bad_numbers_of_classes_and_rates_are_refused():
  with pytest.raises(ValueError, match="one number for each of the 3 classes"):
    _answers(lambda oracle: defenses.with_class_noise(oracle, np.ones(4)), answers_for(0, 2, 3))
  with pytest.raises(ValueError, match="not 0.5"):
    defenses.calibrated_noise().settings(0.5)
  with pytest.raises(ValueError, match="must give stddevs"):
    defenses.class_noise(lambda rate: np.array([np.nan, 1])).settings(0.1)
  with pytest.raises(ValueError, match="per_image or per_class"):
    theory.calibrate(jnp.ones((2, 3)) / 3, 0.1, per_image=True, per_class=True)


def test_the_boundary_defense_acts_below_its_threshold_alone():
  probs = answers_for(2, 6000, 10, spread=1.0)
  answers = _answers(lambda oracle: defenses.with_boundary_noise(oracle, 0.1), probs)
  unsure = probs.max(-1) < 0.3
  assert 500 < unsure.sum() < 5500
  np.testing.assert_array_equal(answers[~unsure], probs[~unsure])
  assert _follows(_difference(answers[unsure], probs[unsure]), 0.1 * np.sqrt(2))
  tied = np.float32([[0.499, 0.5, 0.001]] * 5)  # between two classes nothing is protected
  np.testing.assert_array_equal(
    _answers(lambda oracle: defenses.with_boundary_noise(oracle, 0.1), tied), tied
  )
  assert defenses.boundary_noise().settings(0.1) == {"stddev": 0.1, "threshold": 0.3}


def test_the_confidence_gate_adds_noise_to_images_of_unsure_answers():
  probs = np.clip(answers_for(2, 3000, 3, spread=0.5), 0.2, 0.8)
  wrap = lambda **kwargs: lambda oracle: defenses.with_confidence_gate(oracle, 0.02, **kwargs)
  answers = _answers(wrap(threshold=0.5), probs)
  logs = np.log(np.float64(probs))
  sure = special.softmax(logs, -1).max(-1) > 0.5
  assert 300 < sure.sum() < 2700
  np.testing.assert_array_equal(answers[sure], probs[sure])
  assert _follows((answers - probs)[~sure], 0.02)
  cooler = special.softmax(logs / 0.5, -1).max(-1) > 0.5
  assert cooler.sum() > sure.sum()
  untouched = (_answers(wrap(threshold=0.5, temperature=0.5), probs) == probs).all(-1)
  np.testing.assert_array_equal(untouched, cooler)
  assert (_answers(wrap(threshold=0.0), probs) == probs).all()
  assert (_answers(wrap(threshold=1.0), probs) != probs).any(-1).all()


def test_bad_gates_are_refused():
  for make in (defenses.boundary_noise, defenses.confidence_gate):
    with pytest.raises(ValueError, match="threshold of the confidence"):
      make(threshold=1.5)
  with pytest.raises(ValueError, match="temperature"):
    defenses.confidence_gate(temperature=0.0)
