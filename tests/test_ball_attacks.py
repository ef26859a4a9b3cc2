"""NES, QL and Bandits: estimates, steps in the ball, schedules, the learned prior."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_logits
from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import estimators
from orjax import geometry
from orjax import objectives
from orjax import oracles
from orjax.engine import trials
from orjax.types import Estimator
from orjax.types import Example
from orjax.types import GradientEstimate

SMOOTHING = 0.3


def _clean():
  return oracles.from_predict(linear_predict, linear_variables())


def _estimate(key, image, label, num_pairs):
  objective = objectives.cross_entropy()

  def loss_fn(key, points):
    rows = _clean().query(key, points)
    return jax.vmap(objective.loss, in_axes=(0, None))(rows, label), rows

  return estimators.nes(num_pairs=num_pairs, smoothing=SMOOTHING).estimate(key, loss_fn, image)


def _smoothed_gradient(image, label):
  """d/dx E log p_y(x + s u), by quadrature over the logits: Gaussian in three dimensions."""
  variables = jax.tree.map(lambda x: np.asarray(x, np.float64), linear_variables())
  weights = variables["weights"]
  nodes, masses = np.polynomial.hermite_e.hermegauss(40)
  factor = np.linalg.cholesky(SMOOTHING**2 * weights.T @ weights)
  grid = np.stack(np.meshgrid(nodes, nodes, nodes), -1).reshape(-1, 3)
  mass = np.prod(np.stack(np.meshgrid(masses, masses, masses), -1), -1).reshape(-1)
  mass /= mass.sum()
  logits = image.reshape(-1) @ weights + variables["bias"] + grid @ factor.T
  probs = np.exp(logits - logits.max(-1, keepdims=True))
  probs /= probs.sum(-1, keepdims=True)
  return weights @ (np.eye(3)[label] - mass @ probs)


def test_nes_is_right_on_average_and_not_by_a_factor(linear_images):
  image, label = linear_images[0][0], linear_images[1][0]
  exact = _smoothed_gradient(image.astype(np.float64), label)
  keys = jax.random.split(jax.random.key(0), 4000)
  found = np.asarray(
    jax.jit(jax.vmap(lambda key: _estimate(key, jnp.asarray(image), label, 8).gradient))(keys)
  )
  found = found.reshape(4000, -1).astype(np.float64)
  error = found.std(0) / np.sqrt(len(found))
  accepts = lambda scale: (np.abs(found.mean(0) - scale * exact) < 4.5 * error).all()
  assert accepts(1) and not accepts(2) and not accepts(0.5)


def test_nes_error_falls_as_one_over_the_root_of_the_pairs(linear_images):
  image, label = linear_images[0][0], linear_images[1][0]
  exact = _smoothed_gradient(image.astype(np.float64), label).reshape(image.shape)
  errors = []
  for num_pairs in (4, 16, 64, 256):
    keys = jax.random.split(jax.random.key(num_pairs), 400)
    found = jax.jit(
      jax.vmap(lambda key, n=num_pairs: _estimate(key, jnp.asarray(image), label, n).gradient)
    )(keys)
    errors.append(np.sqrt(np.mean(np.square(np.asarray(found) - exact))))
  np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, rtol=0.1)


def test_an_estimate_does_not_depend_on_the_rest_of_the_batch(linear_images):
  images, labels = linear_images
  keys = lambda: jax.random.split(jax.random.key(2), 8)
  whole = jax.jit(jax.vmap(lambda *x: _estimate(*x, 5)))(keys(), images, labels)
  other = jax.jit(jax.vmap(lambda *x: _estimate(*x, 5)))(keys()[2:5], images[2:5], labels[2:5])
  alone = jax.jit(lambda *x: _estimate(*x, 5))(keys()[3], images[3], labels[3])
  for one in (jax.tree.map(lambda x: x[1], other), alone):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3], b), whole, one)


@pytest.mark.parametrize("norm, radius", [("linf", 0.08), ("l2", 0.3)])
def test_pgd_ends_at_the_worst_point_of_the_ball(norm, radius, linear_images):
  """Of a fixed rival on logits, the margin is linear: its worst point is known."""
  image, label = linear_images[0][0], int(linear_images[1][0])
  weights = np.asarray(linear_variables()["weights"])
  logits = oracles.from_predict(lambda v, x: linear_logits(v, x)[:, :3], linear_variables())
  rival = (label + 1) % 3
  objective = orjax.types.Objective(
    lambda row, label: row[label] - row[rival], objectives.achieved(False)
  )
  attack = attacks.pgd(
    objective, estimators.autodiff(), radius=radius, norm=norm, step_size=radius / 4
  )
  down = (weights[:, rival] - weights[:, label]).reshape(image.shape)
  unit = np.sign(down) if norm == "linf" else down / np.linalg.norm(down)
  result = orjax.attack_one(
    jax.random.key(0), attack, logits, jnp.asarray(image), label, max_queries=10
  )
  np.testing.assert_allclose(result.adversarial, image + radius * unit, atol=1e-5)


@pytest.mark.parametrize("norm", geometry.NORMS)
def test_projection(norm):
  rng = np.random.default_rng(0)
  center = rng.uniform(size=(4, 4, 3)).astype(np.float32)
  far = center + rng.normal(size=center.shape).astype(np.float32)
  image = np.asarray(geometry.project(jnp.asarray(far), jnp.asarray(center), 0.1, norm))
  size = geometry.linf if norm == "linf" else geometry.l2
  assert float(size(image - center)) <= 0.1 + 1e-6
  assert image.min() >= 0 and image.max() <= 1
  near = np.clip(center + np.float32(0.001), 0, 1)
  np.testing.assert_allclose(
    geometry.project(jnp.asarray(near), jnp.asarray(center), 0.1, norm), near, atol=1e-6
  )
  assert np.isfinite(geometry.steepest(jnp.zeros(3), norm)).all()
  with pytest.raises(ValueError, match="norm must be one of linf, l2"):
    geometry.check_norm("l1")


def _scripted(mean):
  """An estimator that reports this mean loss."""

  def estimate(key, loss_fn, image):
    _, rows = loss_fn(key, image[None])
    return GradientEstimate(jnp.float32(0), jnp.ones_like(image), rows[0], jnp.float32(mean))

  return Estimator(estimate, 1)


@pytest.mark.parametrize(
  "is_reversed, losses, wanted",
  [
    # Of five remembered losses the last is compared with the first.
    (False, [5, 4, 3, 2, 1], 0.01),
    (False, [1, 2, 3, 4, 5], 0.005),
    (False, [2, 9, 9, 9, 2], 0.01),
    (True, [5, 4, 3, 2, 1], 0.005),
    (True, [1, 2, 3, 4, 5], 0.01),
  ],
)
def test_plateau_shortens_steps_without_progress(is_reversed, losses, wanted, linear_images):
  example = Example(jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0]))
  rates = []
  state = None
  for loss in losses + losses[-1:]:
    attack = attacks.pgd(
      objectives.cross_entropy(),
      _scripted(loss),
      step_size=0.01,
      plateau=attacks.Plateau(reversed=is_reversed),
    )
    state = attack.init(jax.random.key(0), example) if state is None else state
    state, _ = attack.step(jax.random.key(0), _clean(), example, state)
    rates.append(float(state.step_size))
  assert rates[3] == pytest.approx(0.01), "not before five losses are known"
  assert rates[4] == rates[5] == pytest.approx(wanted), "and the memory is emptied"


def test_steps_are_never_shorter_than_the_least(linear_images):
  example = Example(jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0]))
  plateau = attacks.Plateau(length=2, min_step_size=0.004)
  attack = attacks.pgd(objectives.cross_entropy(), _scripted(0.0), step_size=0.01, plateau=plateau)
  state = attack.init(jax.random.key(0), example)
  for loss in range(12):
    attack = attacks.pgd(
      objectives.cross_entropy(), _scripted(float(loss)), step_size=0.01, plateau=plateau
    )
    state, _ = attack.step(jax.random.key(0), _clean(), example, state)
  assert float(state.step_size) == pytest.approx(0.004)


@pytest.mark.parametrize("norm, radius", [("linf", 0.3), ("l2", 1.0)])
@pytest.mark.parametrize("targeted", [False, True])
def test_ql_and_bandits_fool_the_linear_model_inside_the_ball(
  norm, radius, targeted, linear_images
):
  images, labels = linear_images
  wanted = (labels + 1) % 3 if targeted else labels
  objective = objectives.cross_entropy(targeted=targeted)
  shared = {"radius": radius, "norm": norm, "step_size": radius / 10}
  for attack in (
    attacks.ql(objective, num_pairs=10, smoothing=1e-2, **shared),
    attacks.bandits(
      objective,
      prior_size=None,
      spacing=0.05,
      exploration=0.5,
      prior_learning_rate=10.0 if norm == "linf" else 1.0,
      **shared,
    ),
  ):
    result = jax.jit(
      lambda key, attack=attack: orjax.attack_batch(
        key, attack, _clean(), images, wanted, max_queries=3000
      )
    )(jax.random.key(0))
    classes = np.asarray(linear_logits(linear_variables(), result.adversarial).argmax(-1))
    assert ((classes == wanted) == targeted).all() and np.asarray(result.claimed).all()
    perturbation = np.asarray(result.adversarial) - images
    size = (
      np.abs(perturbation).max((1, 2, 3))
      if norm == "linf"
      else np.linalg.norm(perturbation.reshape(8, -1), axis=1)
    )
    assert (size <= radius + 1e-5).all() and (size > 0.01).all()
    assert (np.asarray(result.num_queries) < 3000).all(), "it stops at the first success"


def test_exponentiated_gradient_is_the_printed_update():
  module = importlib.import_module("orjax.attacks.bandits")
  rng = np.random.default_rng(0)
  prior = rng.uniform(-0.99, 0.99, 50).astype(np.float32)
  gradient = rng.normal(size=50).astype(np.float32)
  a = (prior.astype(np.float64) + 1) / 2
  up, down = a * np.exp(0.7 * gradient), (1 - a) * np.exp(-0.7 * gradient)
  found = module.exponentiated_gradient(jnp.asarray(prior), jnp.asarray(gradient), 0.7)
  np.testing.assert_allclose(found, 2 * up / (up + down) - 1, atol=1e-5)
  huge = module.exponentiated_gradient(jnp.asarray(prior), 1e4 * jnp.asarray(gradient), 100.0)
  assert np.isfinite(huge).all() and np.abs(huge).max() < 1
  back = module.exponentiated_gradient(huge, -1e4 * jnp.asarray(gradient), 100.0)
  assert (np.sign(back) == -np.sign(huge)).all(), "it is not stuck there"


@pytest.mark.parametrize("norm", geometry.NORMS)
def test_the_prior_learns_the_gradient(norm, linear_images):
  """The image held still, the prior turns to where the loss falls."""
  image, label = jnp.asarray(linear_images[0][0]), jnp.int32(linear_images[1][0])
  attack = attacks.bandits(
    objectives.cross_entropy(),
    radius=1e-6,
    norm=norm,
    step_size=1e-7,
    spacing=0.05,
    prior_size=None,
    exploration=0.3,
    prior_learning_rate=0.3,
  )
  example = Example(image, label)
  state = attack.init(jax.random.key(0), example)
  loss = lambda x: objectives.cross_entropy().loss(
    linear_predict(linear_variables(), x[None])[0], label
  )
  down = -np.asarray(jax.grad(loss)(image)).ravel()
  step = jax.jit(lambda key, state: attack.step(key, _clean(), example, state)[0])
  for number in range(300):
    state = step(jax.random.key(number), state)
  prior = np.asarray(state.prior).ravel()
  cosine = prior @ down / np.linalg.norm(prior) / np.linalg.norm(down)
  assert cosine > 0.9


def test_a_tiled_prior_moves_tiles(linear_images):
  image = jnp.asarray(linear_images[0][0])
  attack = attacks.bandits(objectives.cross_entropy(), prior_size=2, radius=0.1)
  example = Example(image, jnp.int32(linear_images[1][0]))
  state = attack.init(jax.random.key(0), example)
  state, info = attack.step(jax.random.key(1), _clean(), example, state)
  moved = np.asarray(state.image - image)[..., 0]
  with pytest.raises(ValueError, match="prior_size=5 is more than the 4 pixels"):
    attacks.bandits(objectives.cross_entropy(), prior_size=5).init(jax.random.key(0), example)
  assert int(info.num_queries) == 3 and np.abs(moved).min() > 0
  for i in (0, 2):
    for j in (0, 2):
      np.testing.assert_allclose(moved[i : i + 2, j : j + 2], moved[i, j], atol=1e-6)


def test_an_unlucky_answer_does_not_end_a_confirmed_attack(linear_images):
  images, labels = linear_images
  noisy = oracles.with_output_noise(_clean(), 0.5)
  for attack in (
    attacks.ql(objectives.cross_entropy(), num_pairs=3, radius=1e-6),
    attacks.bandits(objectives.cross_entropy(), radius=1e-6, prior_size=2),
  ):
    result = orjax.attack_batch(jax.random.key(0), attack, noisy, images, labels, max_queries=300)
    assert np.asarray(result.claimed).all(), "noise alone"
  sure = attacks.ql(objectives.cross_entropy(), num_pairs=3, radius=1e-6, confirmations=101)
  quiet = oracles.with_output_noise(_clean(), 0.02)
  result = orjax.attack_batch(jax.random.key(0), sure, quiet, images, labels, max_queries=2000)
  assert not np.asarray(result.claimed).any()
  example = Example(jnp.asarray(images[0]), jnp.int32(labels[0]))
  assert trials.queries_per_step(sure, quiet, example) == 7 + 101
