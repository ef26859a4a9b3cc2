"""What a user hands in is taken as it is meant, or refused: no number is wrong in silence."""

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from small_calls import attack_batch
from small_calls import evaluate
from small_calls import LABELS
from small_calls import MARGIN
from small_calls import oracle_of
from small_calls import QL
from small_calls import UNIT

from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import defenses
from orjax import engine
from orjax import objectives
from orjax import oracles
from orjax import threats
from orjax.engine import trials
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Oracle
from orjax.types import StepInfo


def _one(oracle=None, images=UNIT, labels=LABELS, **options):
  labels = np.asarray(labels)
  return orjax.attack_one(
    jax.random.key(0), QL, oracle or oracle_of(), images[0], labels[0], max_queries=20, **options
  )


def _engine(oracle=None, images=UNIT, labels=LABELS):
  clean = oracle or oracle_of()
  model = threats.threat_model(lambda variables: clean, defenses.no_defense())
  tasks = [
    engine.Task({"i": i}, image, label, 0, i, {})
    for i, (image, label) in enumerate(zip(images, labels))
  ]
  return list(engine.run(QL, MARGIN, model, {}, tasks, seed=0, max_queries=20))


_WRONG_IMAGES = {
  "0 to 255": (UNIT * 255, "must be in .0, 1., not from"),
  "-1 to 1": (UNIT * 2 - 1, "must be in .0, 1., not from"),
  "standardised": ((UNIT - 0.5) / 0.2, "must be in .0, 1., not from"),
  "a little dark": (UNIT - 0.31, "must be in .0, 1., not from"),
  "a NaN": (np.where(UNIT[0, 0, 0, 0] == UNIT, np.nan, UNIT), "finite"),
  "infinite": (np.where(UNIT[0, 0, 0, 0] == UNIT, np.inf, UNIT), "finite"),
  "bytes": ((UNIT * 255).astype(np.uint8), "uint8"),
  "halves": (UNIT.astype(np.float16), "float16"),
}


@pytest.mark.parametrize("call", [attack_batch, evaluate, _one, _engine])
@pytest.mark.parametrize("images, words", _WRONG_IMAGES.values(), ids=_WRONG_IMAGES)
def test_images_in_other_units_are_refused(call, images, words):
  with pytest.raises(ValueError, match=words):
    call(images=images)


@pytest.mark.parametrize("call", [attack_batch, evaluate])
@pytest.mark.parametrize(
  "shape, words",
  [
    ((0, 4, 4, 1), "no image to attack"),
    ((4, 4, 4), r"must be \[N, H, W, C\]"),
    ((4, 3, 8, 8), r"transpose them by \(0, 2, 3, 1\)"),
    ((4, 8, 8, 7), "pass num_channels=7"),
  ],
)
def test_images_of_other_shapes_are_refused(call, shape, words):
  with pytest.raises(ValueError, match=words):
    call(images=np.full(shape, 0.5, np.float32), labels=np.zeros(shape[0], np.int32))


def test_other_channels_are_taken_when_told():
  images = np.full((2, 4, 2, 2), 0.5, np.float32)
  with pytest.raises(ValueError, match="num_channels=2"):
    attack_batch(images=images, labels=LABELS[:2])
  assert (
    attack_batch(images=images, labels=LABELS[:2], num_channels=2).adversarial.shape == images.shape
  )
  with pytest.raises(ValueError, match="1 channels last"):
    attack_batch(images=images, labels=LABELS[:2], num_channels=1)


_WRONG_LABELS = {
  "from 1": (np.array([1, 2, 3, 3]), "subtract 1"),
  "below": (np.array([0, -1, 0, 0]), "not -1"),
  "above": (np.array([0, 1, 2, 10]), "0 to 2, not 10"),
  "large": (np.array([0, 1, 2, 2**40]), "not 1099511627776"),
  "fractions": (np.full(4, 2.7), "integers, not float64"),
  "booleans": (np.ones(4, bool), "integers, not bool"),
  "one-hot": (np.eye(3)[[2, 1, 0, 0]], "argmax"),
  "too few": (np.zeros(3, np.int32), r"shape \(4,\), not \(3,\)"),
}


@pytest.mark.parametrize("call", [attack_batch, evaluate])
@pytest.mark.parametrize("labels, words", _WRONG_LABELS.values(), ids=_WRONG_LABELS)
def test_labels_of_no_class_are_refused(call, labels, words):
  with pytest.raises(ValueError, match=words):
    call(labels=labels)


@pytest.mark.parametrize("labels", [np.full(4, 3), np.full(4, -1)])
def test_tasks_of_no_class_are_refused(labels):
  with pytest.raises(ValueError, match="labels must be 0 to 2"):
    _engine(labels=labels)


_WRONG_ANSWERS = {
  "[B, 1]": (lambda v, x: linear_predict(v, x)[:, :1], r"of one probability p make \[1 - p, p\]"),
  "[B]": (lambda v, x: linear_predict(v, x)[:, 0], r"of one probability p make \[1 - p, p\]"),
  "a tuple": (lambda v, x: (linear_predict(v, x), x), "not a tuple: pick the output"),
  "a dictionary": (lambda v, x: {"logits": linear_predict(v, x)}, "not a dict: pick the output"),
  "one row": (lambda v, x: linear_predict(v, x)[:1], r"\[B, K\]"),
  "an image each": (lambda v, x: x, r"\[B, K\]"),
  "complex": (lambda v, x: linear_predict(v, x).astype(jnp.complex64), "not complex64"),
}


@pytest.mark.parametrize("call", [attack_batch, evaluate, _one, _engine])
@pytest.mark.parametrize("predict, words", _WRONG_ANSWERS.values(), ids=_WRONG_ANSWERS)
def test_answers_of_other_shapes_are_refused(call, predict, words):
  with pytest.raises(ValueError, match=words):
    call(oracle_of(predict))


@pytest.mark.parametrize(
  "query, words",
  [
    (lambda key, x: linear_predict(linear_variables(), x).astype(jnp.bfloat16), "bfloat16"),
    (lambda key, x: linear_predict(linear_variables(), x)[0], r"\[B, K\]"),
    (lambda key, x: jnp.ones((len(x), 1)), r"K >= 2"),
  ],
)
def test_oracles_of_ones_own_are_looked_at_too(query, words):
  with pytest.raises(ValueError, match=words):
    attack_batch(Oracle(query))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.int8])
def test_noise_is_not_rounded_away(dtype):
  answer = lambda v, x: (4 * linear_predict(v, x)).astype(dtype)
  oracle = oracles.with_output_noise(oracle_of(answer), 1e-3)
  keys = jax.random.split(jax.random.key(0), 500)
  rows = jax.vmap(oracle.query, in_axes=(0, None))(keys, jnp.asarray(UNIT))
  assert rows.dtype == jnp.float32
  np.testing.assert_allclose(rows.std(0), 1e-3, rtol=0.15)


@pytest.mark.parametrize("key", [0, np.zeros(2, np.uint32), None])
def test_keys_are_typed(key):
  with pytest.raises(ValueError, match=r"jax.random.key\(0\)"):
    orjax.attack_batch(key, QL, oracle_of(), UNIT, LABELS, max_queries=20)
  with pytest.raises(ValueError, match=r"jax.random.key\(0\)"):
    attack_batch(key=jax.random.split(jax.random.key(0), 3))


@pytest.mark.parametrize("max_queries", [float("nan"), 0, -5, 20.5, "20"])
def test_budgets_are_whole_numbers(max_queries):
  with pytest.raises(ValueError, match="max_queries must be"):
    attack_batch(max_queries=max_queries)


_NAN = np.float32("nan")


@pytest.mark.parametrize(
  "oracle",
  [
    oracles.from_predict(lambda x: jnp.full((len(x), 3), jnp.nan)),
    oracles.from_predict(lambda x: jnp.asarray([[0.1, jnp.nan, 0.9]]).repeat(len(x), 0)),
    Oracle(lambda key, x: linear_predict(linear_variables(), x) * _NAN),
  ],
  ids=["all", "one entry", "an oracle"],
)
def test_answers_that_are_no_numbers_are_no_success(oracle):
  result = attack_batch(oracle, labels=np.array([1, 2, 1, 2]))
  assert not result.claimed.any() and result.broken.all()
  inside = jax.jit(lambda images: attack_batch(oracle, images, labels=np.array([1, 2, 1, 2])))(UNIT)
  assert not inside.claimed.any() and inside.broken.all()


@pytest.mark.parametrize("worst", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("targeted", [False, True])
def test_no_objective_is_achieved_without_numbers(worst, targeted):
  row = jnp.asarray([0.2, worst, 0.3])
  for make in (objectives.log_margin, objectives.margin, objectives.cross_entropy):
    assert not make(targeted=targeted).achieved(row, jnp.int32(1 if targeted else 0))


_CENTRED = lambda v, x: linear_predict(v, x - x.mean(0, keepdims=True))


def _batch_norm(variables, images):
  scale = images.std(0, keepdims=True) + 0.1
  return linear_predict(variables, (images - images.mean(0, keepdims=True)) / scale)


def _numpy_noise(v, x):
  noise = np.random.default_rng().normal(size=(1, 3)).astype(np.float32)
  return linear_predict(v, x) + noise


def _shuffled(key, images):
  return linear_predict(linear_variables(), images) + jax.random.normal(key, (len(images), 1))


@pytest.mark.parametrize(
  "oracle, words",
  [
    (oracle_of(_batch_norm), "in other company .by up to .*evaluation mode"),
    (oracle_of(_CENTRED), "in other company"),
    (oracle_of(_numpy_noise), "traced again"),
    (Oracle(_shuffled), "with another key .*from_random_predict"),
  ],
  ids=["batch norm", "centred", "numpy", "undeclared"],
)
def test_a_model_that_is_no_function_of_an_image_is_refused(oracle, words):
  with pytest.raises(ValueError, match=words):
    evaluate(oracle)


def test_randomness_may_be_declared():
  assert evaluate(Oracle(_shuffled, random=True)).finite.all()

  def predict(variables, keys, images):
    noise = jax.vmap(lambda key: jax.random.normal(key, (1,)))(keys)
    return linear_predict(variables, images) + noise

  oracle = oracles.from_random_predict(predict, linear_variables())
  assert oracle.random and evaluate(oracle).finite.all()


def test_a_defense_that_draws_from_numpy_is_refused():
  def wrap(oracle, setting):
    del setting

    def query(key, images):
      rows = oracle.query(key, images)
      return rows + np.random.default_rng().normal(size=rows.shape).astype(np.float32)

    return Oracle(query)

  defense = threats.Defense("numpy", wrap, lambda strength: {})
  with pytest.raises(ValueError, match="the defended model answers differently .* traced again"):
    evaluate(defense=defense)


def _reporting(share, ask):
  """An attack that asks by `ask`, and reports a share of it."""

  def step(key, oracle, example, state):
    num_rows = ask(key, oracle, state.adversarial)
    false = jnp.zeros((), bool)
    charged = jnp.int32(share * num_rows * oracle.queries_per_row)
    return state, StepInfo(jnp.float32(0), false, false, charged, ~false)

  return Attack(QL.init, step)


def _once(key, oracle, image):
  return len(oracle.query(key, image[None].repeat(6, 0)))


def _over_keys(key, oracle, image):
  keys = jax.random.split(key, 6)
  return len(jax.vmap(oracle.query, in_axes=(0, None))(keys, image[None]))


def _over_images(key, oracle, image):
  return len(jax.vmap(lambda x: oracle.query(key, x[None]))(image[None].repeat(6, 0)))


def _in_a_loop(key, oracle, image):
  jax.lax.scan(lambda c, key: (c, oracle.query(key, image[None])), 0, jax.random.split(key, 6))
  return 6


def _in_a_branch(key, oracle, image):
  ask = lambda n: lambda key: oracle.query(key, image[None].repeat(n, 0)).sum()
  jax.lax.cond(jax.random.bernoulli(key), ask(6), ask(2), jax.random.clone(key))
  return 6


def _through_gradients(key, oracle, image):
  loss = lambda key, x: oracle.query(key, x[None])[0, 0]
  jax.vmap(jax.grad(loss, 1), in_axes=(0, None))(jax.random.split(key, 6), image)
  return 6


_ASKING = [_once, _over_keys, _over_images, _in_a_loop, _in_a_branch, _through_gradients]


@pytest.mark.parametrize("ask", _ASKING, ids=lambda ask: ask.__name__[1:])
def test_queries_are_counted_at_the_oracle(ask):
  oracle = oracles.averaged(oracle_of(), 5)
  example = jax.tree.map(lambda x: x[0], Example(jnp.asarray(UNIT), LABELS))
  count = trials.queries_per_step
  assert count(_reporting(1, ask), oracle, example) == 30
  with pytest.raises(ValueError, match="asks 30 queries and reports 15"):
    count(_reporting(0.5, ask), oracle, example)
  with pytest.raises(ValueError, match="asks 30 queries and reports 0"):
    attack_batch(oracle, attack=_reporting(0, ask), max_queries=100)


def test_a_loop_of_unknown_length_is_refused():
  def ask(key, oracle, image):
    more = lambda n: oracle.query(key, image[None])[0].argmax() + n
    return jax.lax.while_loop(lambda n: n < 3, more, 0)

  with pytest.raises(ValueError, match="loop of unknown length"):
    attack_batch(attack=_reporting(1, ask))
