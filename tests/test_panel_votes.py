"""Votes and sequential tests: sizes, caps, and no success by luck."""

import jax
import jax.numpy as jnp
import numpy as np
import panel
import pytest

from orjax import attacks
from orjax import objectives
from orjax import oracles
from orjax import theory
from orjax.attacks.steps import ask_tell
from orjax.attacks.wrappers import votes
from orjax.types import Oracle


def _flips(rate):
  """An oracle that gives the wrong label so often."""

  def query(key, images):
    wrong = jax.random.bernoulli(key, rate, (len(images),))
    return jax.nn.one_hot(wrong.astype(jnp.int32), 2)

  return Oracle(query)


def _untouched(num_rows=1):
  """Hands in the image as it is, and calls every look a success if it can."""
  objective = objectives.margin()

  def tell(example, state, notes, rows):
    seen = ask_tell.achieved(objective, rows, example.label)
    return state, ask_tell.report(ask_tell.losses(objective, rows, example.label)[0], seen[0])

  class_ = votes.VotedState  # any state with `adversarial`
  return ask_tell.AskTell(
    lambda key, example: class_(None, None, None, None, example.image),
    lambda key, example, state: (jnp.stack([example.image] * num_rows), None),
    tell,
  )


@pytest.mark.parametrize("rate", [0.1, 0.31])
def test_a_vote_is_as_long_and_as_wrong_as_predicted(rate):
  lead = int(theory.vote_lead(rate, 0.05))
  rule = votes.vote(lead=lead)

  def one(key):
    def body(carry, wrong):
      state, over, yes, looks = carry
      state, verdict = rule.add(state, wrong, jnp.int32(0))
      ends = verdict.decided & ~over
      return (
        state,
        over | verdict.decided,
        jnp.where(ends, verdict.yes, yes),
        jnp.where(ends, state.num_looks, looks),
      ), None

    start = (rule.init(), jnp.zeros((), bool), jnp.zeros((), bool), jnp.int32(0))
    (_, over, yes, looks), _ = jax.lax.scan(body, start, jax.random.bernoulli(key, rate, (64, 1)))
    return over, yes, looks

  over, yes, looks = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 8000))
  assert np.asarray(over).all()
  assert abs(np.mean(yes) - float(theory.vote_error(lead, rate))) < 0.01
  np.testing.assert_allclose(np.mean(looks), theory.vote_looks(lead, rate), rtol=0.04)


def test_what_stays_undecided_is_a_no():
  rule = votes.vote(lead=3, max_looks=4)
  state, verdict = rule.add(rule.init(), jnp.asarray([True, True, False, True]), jnp.int32(0))
  assert verdict.decided and not verdict.yes and int(state.lead) == 2
  _, verdict = rule.add(rule.init(), jnp.asarray([True] * 3), jnp.int32(0))
  assert verdict.decided and verdict.yes
  _, verdict = rule.add(rule.init(), jnp.asarray([True] * 3), jnp.int32(1))
  assert not verdict.decided
  for numbers in ({"lead": 0}, {"lead": 9, "max_looks": 8}):
    with pytest.raises(ValueError, match="lead must be at least 1"):
      votes.vote(**numbers)


def test_later_votes_need_a_greater_lead():
  counts = jnp.arange(1, 9, dtype=jnp.int32)
  np.testing.assert_array_equal(votes.caution(counts), [0, 2, 2, 4, 4, 4, 4, 6])


@pytest.mark.parametrize("gain, wins", [(0.3, False), (-0.3, True)])
def test_a_sequential_test_errs_as_seldom_as_asked(gain, wins):
  """New losses are lower by -gain; noise of stddev 1 on both."""
  error, variance = 0.05, 1.0

  def one(key):
    def body(carry, noise):
      old, new, over, yes, looks = carry
      old, new = votes.look(old, noise[0]), votes.look(new, gain + noise[1])
      verdict = votes.better(old, new, variance, 0.3, error=error, max_looks=400)
      ends = verdict.decided & ~over
      return (
        old,
        new,
        over | ends,
        jnp.where(ends, verdict.yes, yes),
        jnp.where(ends, new.count, looks),
      ), None

    false = jnp.zeros((), bool)
    start = (votes.no_looks(), votes.no_looks(), false, false, jnp.int32(0))
    return jax.lax.scan(body, start, jax.random.normal(key, (400, 2)))[0][2:]

  over, yes, looks = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 1000))
  assert np.asarray(over).all()
  assert (np.asarray(yes) != wins).mean() < 0.07
  expected = float(theory.sequential_pairs(1.0, 0.3, error))
  assert 0.9 < np.mean(looks) / expected < 1.25


def test_without_noise_the_first_looks_decide():
  old, new = (votes.look(votes.no_looks(), jnp.float32(x)) for x in (1.0, 0.999))
  verdict = votes.better(old, new, 0.0, 1e-12)
  assert verdict.decided and verdict.yes
  verdict = votes.better(new, old, 0.0, 1e-12)
  assert verdict.decided and not verdict.yes
  nothing = votes.look(votes.no_looks(), jnp.float32(jnp.inf))
  assert int(nothing.count) == 0 and float(nothing.mean()) == 0
  assert not votes.better(old, nothing, 0.0, 1e-12).decided


@pytest.mark.parametrize("num_rows", [1, 5])
def test_the_untouched_image_is_no_success(num_rows):
  """The whole budget of single looks at stddev .24, every lucky one put to the vote."""
  lead = int(theory.vote_lead(0.31, 0.01 / 2))  # all votes together err twice as often
  attack = ask_tell.from_ask_tell(
    votes.voted(_untouched(num_rows), objectives.margin(), rule=votes.vote(lead=lead))
  )
  single = ask_tell.from_ask_tell(_untouched(num_rows))
  images = np.full((200, 2, 2, 1), 0.5, np.float32)
  labels = np.zeros(200, np.int32)
  answers = jnp.asarray([0.9] + [0.1 / 9] * 9, jnp.float32)
  sure = Oracle(lambda key, images: jnp.broadcast_to(answers[None], (len(images), 10)))
  for oracle in (oracles.with_output_noise(sure, 0.24), _flips(0.31)):
    result = panel.run(attack, oracle, images, labels, 1000)
    assert np.mean(result.claimed) <= 0.01
    assert np.mean(panel.run(single, oracle, images, labels, 1000).claimed) > 0.9, "luck"


def test_a_real_success_is_confirmed_soon():
  attack = ask_tell.from_ask_tell(
    votes.voted(_untouched(), objectives.margin(), rule=votes.vote(lead=6))
  )
  images = np.full((100, 2, 2, 1), 0.5, np.float32)
  whole = attacks.until_success(attack)
  result = panel.run(whole, _flips(0.9), images, np.zeros(100, np.int32), 2000)
  assert np.asarray(result.claimed).all()
  assert 7 <= np.mean(result.num_queries) < 12
