"""One table of defenses, and what every one of them promises."""

import functools

from echo import answers_for
from echo import as_images
from echo import echo_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from orjax import defenses
from orjax import host
from orjax import oracles
from orjax import theory
from orjax.types import Oracle

_PROBS = answers_for(9, 64, 3)
_LOGIT_NOISE = defenses.logit_noise()
# name: defense, a strength, whether it is random, the strength at which it does nothing
ON_ANSWERS = {
  "logit_noise": (defenses.logit_noise(), 1.0, True, 0.0),
  "calibrated_noise": (defenses.calibrated_noise(), 0.1, True, 0.0),
  "boundary_noise": (defenses.boundary_noise(threshold=0.7), 1.0, True, 0.0),
  "random_scaling": (defenses.random_scaling(), 1.0, True, 0.0),
  "normal_scaling": (defenses.normal_scaling(), 3.0, True, 0.0),
  "rounded": (defenses.rounded(), 2.0, False, None),
  "top_k": (defenses.top_k(), 2.0, False, 1000.0),
  "label_only": (defenses.label_only(), 1.0, False, None),
  "sampled_label": (defenses.sampled_label(), 1.0, True, None),
  "reverse_sigmoid": (defenses.reverse_sigmoid(), 0.5, False, 0.0),
  "aaa_linear": (defenses.aaa_linear(), 6.0, False, 0.0),
  "aaa_sine": (defenses.aaa_sine(), 4.0, False, 0.0),
}
ON_IMAGES = {
  "confidence_gate": (defenses.confidence_gate(threshold=0.999), 0.1, True, 0.0),
  "input_noise": (defenses.input_noise(), 0.1, True, 0.0),
  "resize_pad": (defenses.resize_pad(size=4, fill=0.0), 2.0, True, 0.0),
  "uint8_input": (defenses.uint8_input(), 7.0, False, None),
}
MADE_OF_OTHERS = {
  "class_noise": (
    defenses.class_noise(functools.partial(theory.calibrate, _PROBS, per_class=True)),
    0.1,
    True,
    0.0,
  ),
  "logit_noise_vote5": (defenses.majority_vote(_LOGIT_NOISE, 5), 1.0, True, None),
  "logit_noise_mean4": (defenses.mean_answer(_LOGIT_NOISE, 4), 1.0, True, 0.0),
  "logit_noise_cached": (defenses.cached(_LOGIT_NOISE, secret=3), 1.0, False, 0.0),
}
ALL = ON_ANSWERS | ON_IMAGES | MADE_OF_OTHERS
_PREDICT = jax.jit(linear_predict)
_IMAGES = np.random.default_rng(0).uniform(0, 1, (64, 4, 4, 1)).astype(np.float32)


def _clean():
  return oracles.from_predict(linear_predict, linear_variables())


def _setting(defense, strength):
  """As the engine gives it: float32 arrays."""
  return {k: jnp.asarray(v, jnp.float32) for k, v in defense.settings(strength).items()}


# Halves the time to compile, where bits do not matter.
_QUICKLY = (("xla_backend_optimization_level", 0),)


@functools.cache
def _compiled(name, inner, options):
  def ask(key, setting, images):
    return ALL[name][0].wrap(inner(), setting).query(key, images)

  return jax.jit(ask, compiler_options=dict(options))


def _ask(name, key, images, *, strength=None, inner=_clean, options=()):
  """The defended answers, from a program that is compiled once for all tests."""
  defense, usual, _, _ = ALL[name]
  setting = _setting(defense, usual if strength is None else strength)
  key = jax.random.key(key) if isinstance(key, int) else key
  return _compiled(name, inner, options)(key, setting, images)


@pytest.mark.parametrize("name", ALL)
def test_a_row_is_answered_the_same_in_every_batch_and_by_the_same_key(name):
  whole, random = _ask(name, 1, _IMAGES), ALL[name][2]
  assert whole.shape == (64, 3) and whole.dtype == jnp.float32
  for size in (1, 7):
    np.testing.assert_array_equal(_ask(name, 1, _IMAGES[:size]), whole[:size])
  np.testing.assert_array_equal(_ask(name, 1, _IMAGES), whole)
  assert (_ask(name, 2, _IMAGES) != whole).any() == random
  if random:
    same = _ask(name, 1, np.broadcast_to(_IMAGES[:1], _IMAGES.shape))
    assert len({row.tobytes() for row in np.asarray(same)}) > 1
  else:
    order = np.random.default_rng(2).permutation(64)
    np.testing.assert_array_equal(_ask(name, 1, _IMAGES[order]), whole[order])


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name][3] is not None])
def test_the_least_strength_is_no_defense_bit_for_bit(name):
  clean = jax.jit(_clean().query)(jax.random.key(0), _IMAGES)
  np.testing.assert_array_equal(_ask(name, 1, _IMAGES, strength=ALL[name][3]), clean)


@pytest.mark.parametrize("name", ALL)
def test_one_program_for_all_strengths_under_vmap_and_averaging(name):
  defense, strength, _, _ = ALL[name]
  traces = []

  @functools.partial(jax.jit, compiler_options=dict(_QUICKLY))
  @functools.partial(jax.vmap, in_axes=(0, None, 0))
  def together(key, setting, images):
    traces.append(0)
    return oracles.averaged(defense.wrap(_clean(), setting), 4).query(key, images)

  keys = lambda: jax.random.split(jax.random.key(1), 2)
  images = _IMAGES[:14].reshape(2, 7, 4, 4, 1)
  for value in (*defense.default[:2], strength):
    averages = together(keys(), _setting(defense, value), images)
  assert len(traces) == 1
  for i in range(2):
    samples = [_ask(name, key, images[i]) for key in jax.random.split(keys()[i], 4)]
    np.testing.assert_allclose(averages[i], np.mean(samples, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_callable_of_the_host_is_defended_as_a_network_is(name):
  defense, strength, _, _ = ALL[name]
  given = []

  def fn(images):
    given.append(len(images))
    return np.asarray(_PREDICT(linear_variables(), images))

  oracle = defense.wrap(oracles.from_host(fn, 3), _setting(defense, strength))
  answers = host.staged(oracle.query)(jax.random.key(1), _IMAGES[:7])
  np.testing.assert_allclose(answers, _ask(name, 1, _IMAGES[:7]), rtol=2e-5, atol=1e-6)
  times = {"confidence_gate": 2, "logit_noise_vote5": 5, "logit_noise_mean4": 4}.get(name, 1)
  assert sum(given) == 7 * times and oracle.queries_per_row == 1


@pytest.mark.parametrize("name", ALL)
def test_wrappers_charge_as_before_and_drop_the_inside(name):
  defense, strength, _, _ = ALL[name]
  oracle = defense.wrap(Oracle(_clean().query, 3, lambda stddev: None), defense.settings(strength))
  assert oracle.queries_per_row == 3 and oracle.inside is None


@pytest.mark.parametrize("num_classes", [2, 1000])
@pytest.mark.parametrize("name", [*ON_ANSWERS, "logit_noise_vote5", "logit_noise_mean4"])
def test_broken_and_extreme_answers_of_two_and_of_a_thousand_classes(name, num_classes):
  probs = answers_for(1, 12, num_classes)
  probs[:5, :2] = [[0.5, 0.5], [np.nan, 0.5], [0, 1], [1, 0], [0, 0]]
  probs[:5, 2:] = 0
  answers = np.asarray(_ask(name, 1, as_images(probs), inner=echo_oracle, options=_QUICKLY))
  assert answers.shape == probs.shape and np.isnan(answers[1]).all()
  answers, probs = np.delete(answers, 1, 0), np.delete(probs, 1, 0)
  assert np.isfinite(answers).all()
  if name not in ("calibrated_noise", "boundary_noise", "rounded", "top_k"):
    np.testing.assert_allclose(answers.sum(-1), 1, rtol=1e-5)
  if name not in ("sampled_label", "calibrated_noise"):
    assert answers[1].argmax() == 1 and answers[2].argmax() == 0
  nothing_hidden = name == "top_k" and num_classes == 2
  assert (answers != probs).any() != nothing_hidden


@pytest.mark.parametrize("name", ALL)
def test_a_defense_says_what_it_is_and_refuses_what_is_none(name):
  defense, _, _, _ = ALL[name]
  assert defense.name == name and defense.axis
  for value in defense.default:
    numbers = defense.settings(value)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in numbers.values())
  with pytest.raises(ValueError, match="not -1"):
    defense.settings(-1.0)


def test_gradients_pass_through_a_defended_network():
  for name in ("logit_noise", "aaa_linear", "calibrated_noise"):
    images = jnp.asarray(_IMAGES[:7])
    slope = jax.grad(lambda images: _ask(name, 1, images)[:, 0].sum())(images)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 1e-3


def test_batches_of_every_size_agree_on_every_answer():
  # Shapes at which the compiler splits loops elsewhere, and a softmax rounds otherwise.
  probs = as_images(answers_for(3, 1056, 3))
  for name in ("logit_noise", "calibrated_noise"):
    whole = _ask(name, 1, probs, inner=echo_oracle)
    np.testing.assert_array_equal(_ask(name, 1, probs[:33], inner=echo_oracle), whole[:33])
