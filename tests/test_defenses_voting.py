"""Servers that ask themselves again, and servers that say the same again; a peer's noise."""

from echo import answers_for
from echo import as_images
from echo import echo_oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from orjax import defenses
from orjax import oracles
from orjax.defenses.repeats import image_key


def _answers(wrap, probs, seed=1):
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), as_images(probs)))


def test_a_majority_is_wrong_with_the_tail_of_a_binomial():
  probs = np.broadcast_to(np.float32([0.6, 0.4]), (4000, 2))
  single = stats.norm.cdf(-0.2 / (0.2 * np.sqrt(2)))
  noisy = lambda oracle: defenses.with_output_noise(oracle, 0.2)
  for votes in (1, 5):
    answers = _answers(lambda oracle: defenses.with_vote(noisy(oracle), votes), probs)
    assert ((answers == 0) | (answers == 1)).all() and (answers.sum(-1) == 1).all()
    wrong = int(answers[:, 1].sum())
    tail = lambda rate, votes: stats.binom(votes, rate).sf(votes // 2)
    assert stats.binomtest(wrong, 4000, tail(single, votes)).pvalue > 1e-3
    assert stats.binomtest(wrong, 4000, tail(single, votes + 2)).pvalue < 1e-3
  with pytest.raises(ValueError, match="at least 1"):
    defenses.with_vote(echo_oracle(), 0)


def test_equal_votes_go_to_the_first_class():
  probs = np.broadcast_to(np.float32([0.5, 0.5]), (3000, 2))
  noisy = lambda oracle: defenses.with_output_noise(oracle, 1.0)
  answers = _answers(lambda oracle: defenses.with_vote(noisy(oracle), 2), probs)
  assert stats.binomtest(int(answers[:, 0].sum()), 3000, 0.75).pvalue > 1e-3


def test_a_mean_of_answers_is_what_an_averaging_attacker_finds():
  probs = answers_for(0, 30, 3)
  noisy = lambda oracle: defenses.with_logit_noise(oracle, 1.0)
  mean = _answers(lambda oracle: defenses.with_mean(noisy(oracle), 4), probs)
  attacker = _answers(lambda oracle: oracles.averaged(noisy(oracle), 4), probs)
  np.testing.assert_allclose(mean, attacker, rtol=1e-6)
  assert defenses.with_mean(noisy(echo_oracle()), 4).queries_per_row == 1
  assert oracles.averaged(noisy(echo_oracle()), 4).queries_per_row == 4


def test_defenses_made_of_others_are_named_and_swept_as_these():
  inner = defenses.output_noise()
  made = {
    "output_noise_vote25": defenses.majority_vote(inner, 25),
    "output_noise_mean30": defenses.mean_answer(inner, 30),
    "output_noise_cached": defenses.cached(inner),
  }
  for name, defense in made.items():
    assert defense.name == name
    assert (defense.settings(0.04), defense.axis) == ({"stddev": 0.2}, "noise variance")


def _cached(secret=3):
  return lambda oracle: defenses.with_cached_repeats(defenses.with_logit_noise(oracle, 1.0), secret)


def test_repeats_say_the_same_in_every_query_order_batch_and_trial():
  query = jax.jit(lambda key, images, secret: _cached(secret)(echo_oracle()).query(key, images))
  ask = lambda probs, seed=1, secret=3: query(jax.random.key(seed), as_images(probs), secret)
  probs = answers_for(0, 64, 3)
  answers = np.asarray(ask(probs))
  np.testing.assert_array_equal(ask(probs, seed=2), answers)
  order = np.random.default_rng(0).permutation(64)
  np.testing.assert_array_equal(ask(probs[order]), answers[order])
  np.testing.assert_array_equal(ask(probs[order[:7]]), answers[order[:7]])
  twice = np.concatenate([probs[:32], probs[:32]])
  np.testing.assert_array_equal(ask(twice)[32:], answers[:32])
  assert (ask(probs, secret=4) != answers).all(-1).all()
  images = as_images(probs).reshape(4, 16, 1, 3, 1)
  oracle = oracles.averaged(_cached()(echo_oracle()), 8)
  trials = jax.jit(jax.vmap(oracle.query))(jax.random.split(jax.random.key(9), 4), images)
  np.testing.assert_allclose(trials.reshape(64, 3), answers, rtol=1e-6)


def test_noise_that_repeats_has_its_law_over_images_and_jitter_draws_it_anew():
  base = np.float32([0.5, 0.3, 0.2])
  jittered = np.tile(base, (3000, 1))
  jittered[:, 2] += np.arange(3000, dtype=np.float32) * 3e-8  # the smallest steps there are
  jittered = np.unique(jittered, axis=0)
  assert len(jittered) > 1000
  noise = np.diff(np.log(_answers(_cached(), jittered)) - np.log(jittered))[:, 0]
  pvalue = lambda stddev: stats.kstest(noise / stddev, stats.norm.cdf).pvalue
  assert pvalue(np.sqrt(2)) > 1e-3 and pvalue(1) < 1e-6 and pvalue(2) < 1e-6
  assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.1
  rounded = lambda oracle: defenses.with_uint8(_cached()(oracle))
  assert len(np.unique(_answers(rounded, jittered), axis=0)) == 1


def test_keys_of_images_tell_all_images_apart_but_not_zeros():
  images = np.random.default_rng(0).integers(0, 2, (4000, 6, 6)).astype(np.float32)
  images = np.unique(images, axis=0)
  of_images = jax.jit(
    lambda images: jax.vmap(lambda x: jax.random.key_data(image_key(jax.random.key(0), x)))(images)
  )
  keys = np.asarray(of_images(images))
  assert len(np.unique(keys, axis=0)) == len(images)
  assert len(np.unique(keys[:, 0])) == len(images)  # 4000 of 2^32: no accident
  bits = np.unpackbits(keys.view(np.uint8), axis=-1).mean(0)
  assert np.abs(bits - 0.5).max() < 0.05
  np.testing.assert_array_equal(of_images(np.where(images == 0, -0.0, images)), keys)
  swapped = np.float32([[[0.0, 1.0]], [[1.0, 0.0]]])
  assert (np.diff(np.asarray(of_images(swapped)), axis=0) != 0).all()


def test_a_cached_server_of_the_host_is_asked_once_for_repeats():
  given = []

  def fn(images):
    given.append(len(images))
    return np.tile(np.float32([0.5, 0.3, 0.2]), (len(images), 1))

  cached = defenses.with_cached_repeats(
    defenses.with_logit_noise(oracles.from_host(fn, 3), jnp.float32(1)), 3
  )
  images = as_images(answers_for(0, 4, 3))
  once = cached.query(jax.random.key(0), images)
  oracle = oracles.averaged(cached, 5)
  np.testing.assert_allclose(oracle.query(jax.random.key(0), images), once, rtol=1e-6)
  assert given == [4, 4] and oracle.queries_per_row == 5


def test_a_peers_noise_is_biased_and_ours_is_not():
  postprocessor = pytest.importorskip("art.defences.postprocessor")
  probs = np.broadcast_to(np.float32([0.99] + [0.01 / 9] * 9), (20000, 10))
  np.random.seed(0)  # of the peer
  theirs = postprocessor.GaussianNoise(scale=0.1)(np.array(probs)).mean(0)
  ours = _answers(lambda oracle: defenses.with_output_noise(oracle, 0.1), probs).mean(0)
  error = 5 * 0.1 / np.sqrt(20000)
  np.testing.assert_allclose(ours, probs[0], atol=error)
  assert theirs[0] < 0.99 - 20 * error and theirs[1] > 0.01 + 5 * error
