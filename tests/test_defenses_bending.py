"""Answers bent without randomness: exact curves, labels kept, the margin's trend reversed."""

from echo import answers_for
from echo import as_images
from echo import echo_oracle
import jax
import numpy as np
import pytest

from orjax import defenses


def _answers(wrap, probs, seed=1):
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), as_images(probs)))


def _reverse_sigmoid(probs, beta, gamma):
  y = np.float64(probs)
  y = y - beta * (1 / (1 + (y / (1 - y)) ** -gamma) - 0.5)
  return y / y.sum(-1, keepdims=True)


@pytest.mark.parametrize("beta, gamma", [(1.0, 0.1), (0.3, 0.5)])
def test_the_reverse_sigmoid_is_the_published_curve(beta, gamma):
  probs = answers_for(0, 100, 10)
  bend = lambda oracle: defenses.with_reverse_sigmoid(oracle, beta, gamma=gamma)
  answers = _answers(bend, probs)
  np.testing.assert_allclose(answers, _reverse_sigmoid(probs, beta, gamma), rtol=1e-4)
  for wrong in ((beta * 2, gamma), (beta, gamma * 2)):
    assert np.abs(answers - _reverse_sigmoid(probs, *wrong)).max() > 0.01
  extreme = _answers(bend, np.float32([[1, 0, 0]]))
  expected = np.array([[1 - beta / 2, beta / 2, beta / 2]])
  np.testing.assert_allclose(extreme, expected / expected.sum(), atol=2e-4)


def test_the_published_start_of_the_reverse_sigmoid_says_nothing():
  probs = answers_for(0, 100, 10)
  answers = _answers(lambda oracle: defenses.with_reverse_sigmoid(oracle, 1.0, gamma=1.0), probs)
  np.testing.assert_allclose(answers, 0.1, rtol=1e-5)


def test_the_reverse_sigmoid_may_change_the_label_of_an_unsure_answer():
  probs = np.full((1, 1000), 0.99 / 999, np.float32)
  probs[0, 5] = 0.01
  bend = lambda oracle: defenses.with_reverse_sigmoid(oracle, 1.0, gamma=0.1)
  assert _answers(bend, probs)[0].argmax() != 5
  sure = np.float32([[0.001, 0.999]])
  assert _answers(bend, sure)[0].argmax() == 1
  with pytest.raises(ValueError, match="gamma"):
    defenses.reverse_sigmoid(gamma=0.0)


def _adversarial_attack_on_attackers(logits, choose_target, interval, temperature=1.0):
  """The published procedure on one row, by NumPy in float64."""
  softmax = lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum()
  z = np.float64(logits).copy()
  top = z.argmax()
  confidence = softmax(z / temperature)[top]
  lead = lambda z: np.sort(z)[-1] - np.sort(z)[-2]
  attractor = (np.round(lead(z) / interval + 0.5) - 0.5) * interval
  target = choose_target(lead(z), attractor, interval)
  mean, square = np.zeros_like(z), np.zeros_like(z)
  for step in range(1, 101):
    second, first = np.argsort(z)[-2:]
    probs, slope = softmax(z), np.zeros_like(z)
    slope[first] += np.sign(lead(z) - target)
    slope[second] -= np.sign(lead(z) - target)
    own = np.zeros_like(z)
    own[top] = 1
    slope += 5 * np.sign(probs[top] - confidence) * probs[top] * (own - probs)
    mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
    z -= 0.1 * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
  return softmax(z)


TARGETS = {
  "linear": lambda m, a, interval: a - (m - a),
  "sine": lambda m, a, interval: m - 0.7 * interval * np.sin(np.pi * (1 - 2 * (m - a) / interval)),
}
WRAPPERS = {"linear": defenses.with_aaa_linear, "sine": defenses.with_aaa_sine}


def _margin(probs):
  ordered = np.sort(np.log(np.float64(probs)), -1)
  return ordered[:, -1] - ordered[:, -2]


@pytest.mark.parametrize("shape", TARGETS)
@pytest.mark.parametrize("interval", [4.0, 6.0])
def test_attackers_are_attacked_as_published(shape, interval):
  probs = answers_for(1, 40, 10, spread=3.0)
  answers = _answers(lambda oracle: WRAPPERS[shape](oracle, interval), probs)
  expected = np.stack(
    [_adversarial_attack_on_attackers(np.log(p), TARGETS[shape], interval) for p in probs]
  )
  # Adam goes to and fro about the target by its learning rate, and rounding turns it.
  assert np.median(np.abs(_margin(answers) - _margin(expected))) < 0.02
  assert np.abs(_margin(answers) - _margin(expected)).max() < 0.4
  assert np.median(np.abs(answers - expected).max(-1)) < 0.005
  other = np.stack(
    [_adversarial_attack_on_attackers(np.log(p), TARGETS[shape], 5.0) for p in probs]
  )
  assert (np.abs(_margin(answers) - _margin(other)) > 0.5).sum() > 8


def _line(margins, num_classes):
  """Answers whose top two logits are `margins` apart, above many equal ones."""
  logits = np.full((len(margins), num_classes), -8.0)
  logits[:, 1], logits[:, 0] = margins, 0
  exponents = np.exp(logits - logits.max(-1, keepdims=True))
  return np.float32(exponents / exponents.sum(-1, keepdims=True))


@pytest.mark.parametrize("shape", TARGETS)
def test_the_margin_runs_backwards_about_the_attractors(shape):
  margins = np.linspace(0.3, 11.7, 20)
  probs = _line(margins, 1000)  # enough classes for any margin at any confidence up to ...
  attractor = np.where(margins < 6, 3.0, 9.0)
  target = TARGETS[shape](margins, attractor, 6.0)
  answers = _answers(WRAPPERS[shape], probs)
  seen = _margin(answers)
  possible = probs[:, 1] < 1 / (1 + np.exp(-target))  # ... what the second class leaves
  assert possible.sum() > 9
  np.testing.assert_allclose(seen[possible], target[possible], atol=0.2)
  np.testing.assert_allclose(seen, target, atol=0.9)
  np.testing.assert_allclose(answers[possible, 1], probs[possible, 1], atol=0.05)
  for middle in (3, 9):
    near = np.abs(margins - middle) < 1.6
    assert np.polyfit(margins[near], seen[near], 1)[0] < -0.9
    assert np.polyfit(margins[near], _margin(probs[near]), 1)[0] > 0.99


@pytest.mark.parametrize("shape", TARGETS)
@pytest.mark.parametrize("num_classes", [2, 3, 1000])
def test_attacked_attackers_see_every_label(shape, num_classes):
  probs = answers_for(4, 300 if num_classes < 1000 else 20, num_classes, spread=1.5)
  borders = np.float32(np.concatenate([6 - np.geomspace(1e-3, 1, 10), np.geomspace(1e-3, 1, 5)]))
  probs[: len(borders)] = _line(borders, num_classes)
  probs[15] = np.eye(num_classes)[1]
  answers = _answers(WRAPPERS[shape], probs)
  assert np.isfinite(answers).all()
  np.testing.assert_array_equal(answers.argmax(-1), probs.argmax(-1))


def test_images_are_floored_where_that_is_asked_for():
  probs = np.float32([[0.7, 0.2, 0.1]])
  plain, floored = defenses.aaa_linear(), defenses.aaa_linear(uint8=True)
  setting = plain.settings(6.0)
  answers = _answers(lambda oracle: floored.wrap(oracle, setting), probs)
  in_bytes = np.floor(probs * 255) / np.float32(255)
  np.testing.assert_allclose(
    answers, _answers(lambda oracle: plain.wrap(oracle, setting), in_bytes), rtol=1e-5
  )
  assert (answers != _answers(lambda oracle: plain.wrap(oracle, setting), probs)).any()
