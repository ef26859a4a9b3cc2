"""The closed calls: attack and judge in one expression; the package's front door."""

import pathlib
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import defenses
from orjax import engine
from orjax import objectives
from orjax import oracles
from orjax import threats

_OBJECTIVE = objectives.log_margin()
_ATTACK = attacks.zoo(
  _OBJECTIVE,
  num_coordinates=5,
  max_steps=20,
  binary_search_steps=2,
  check_every=10,
  initial_trade_off=1.0,
)
_DEFENSE = defenses.output_noise()


def _classifier(variables):
  return oracles.from_predict(linear_predict, variables)


def _threats(**options):
  return threats.threat_model(_classifier, _DEFENSE, **options)


def _evaluate(images, labels, threat_model=None, **options):
  return orjax.evaluate(
    options.pop("key", None) if "key" in options else jax.random.key(7),
    options.pop("attack", _ATTACK),
    threat_model or _threats(),
    options.pop("variables", linear_variables()),
    images,
    labels,
    objective=_OBJECTIVE,
    **{"max_queries": 400, "num_draws": 20, "setting": _DEFENSE.settings(1e-3), **options},
  )


def test_evaluate_is_the_engine_bit_for_bit(linear_images):
  images, labels = linear_images
  setting = _DEFENSE.settings(1e-3)
  found = _evaluate(images, labels, setting=setting)
  tasks = [
    engine.Task({"index": i}, image, int(label), 0, i, setting)
    for i, (image, label) in enumerate(zip(images, labels))
  ]
  outcomes = engine.run(
    _ATTACK,
    _OBJECTIVE,
    _threats(),
    linear_variables(),
    tasks,
    seed=7,
    max_queries=400,
    num_draws=20,
    plan=engine.Plan(3, 7),
  )
  for outcome in outcomes:
    i = outcome.task.index
    np.testing.assert_array_equal(found.adversarial[i], outcome.adversarial)
    for name in (
      "claimed",
      "clean_success",
      "defended_success_rate",
      "noise_error_rate",
      "num_steps",
      "num_queries",
      "zero_gradients",
    ):
      assert float(getattr(found, name)[i]) == np.float32(getattr(outcome, name)), name
  perturbations = (np.asarray(found.adversarial) - images).reshape(len(images), -1)
  np.testing.assert_allclose(found.l2, np.linalg.norm(perturbations, axis=1), rtol=1e-5)
  np.testing.assert_allclose(found.linf, np.abs(perturbations).max(1), rtol=1e-5)
  assert found.finite.all()


def test_evaluate_works_under_jit_with_a_traced_setting(linear_images):
  images, labels = linear_images

  @jax.jit
  def call(images, key, variables, stddev):
    return _evaluate(images, labels, key=key, variables=variables, setting={"stddev": stddev})

  given = images, jax.random.key(7), linear_variables()
  inside = call(*given, jnp.float32(np.sqrt(1e-3)))
  jax.tree.map(np.testing.assert_array_equal, inside, _evaluate(images, labels))
  quiet = call(*given, jnp.float32(0))
  assert (quiet.noise_error_rate == 0).all()
  np.testing.assert_array_equal(quiet.defended_success_rate, quiet.clean_success)
  assert call._cache_size() == 1


def test_the_four_answers_are_of_four_questions(linear_images):
  """At stddev 1 an attack claims success at once; nobody is fooled but by the noise."""
  found = _evaluate(*linear_images, setting=_DEFENSE.settings(1.0), num_draws=100)
  assert found.claimed.mean() > 0.7 and found.clean_success.mean() < 0.3
  assert (np.abs(found.defended_success_rate - found.noise_error_rate) < 0.25).all()


def test_evaluate_judges_a_transfer_by_the_target(linear_images):
  images, labels = linear_images
  found = _evaluate(
    images,
    labels,
    _threats(asks=_classifier),
    variables=(linear_variables(), linear_variables(5)),
    setting=_DEFENSE.settings(0.0),
  )
  judged = linear_predict(linear_variables(), found.adversarial).argmax(-1) != labels
  np.testing.assert_array_equal(found.clean_success, judged)
  claimed = linear_predict(linear_variables(5), found.adversarial).argmax(-1) != labels
  np.testing.assert_array_equal(found.claimed, claimed)


def test_evaluate_asks_a_model_outside_jax(linear_images):
  images, labels = linear_images
  rows = []

  def fn(images):
    rows.append(len(images))
    return np.asarray(linear_predict(linear_variables(), jnp.asarray(images)))

  host = oracles.from_host(fn, 3)
  outside = _evaluate(images, labels, threats.threat_model(lambda v: host, _DEFENSE), variables=())
  ours = _evaluate(images, labels)
  np.testing.assert_array_equal(outside.num_queries, ours.num_queries)
  np.testing.assert_allclose(outside.adversarial, ours.adversarial, atol=2e-3)
  # Each image and what became of it: once without and 20 times with noise.
  assert sum(rows) == int(outside.num_queries.sum()) + len(images) * 2 * 21
  with pytest.raises(ValueError, match="inside jit or vmap"):
    jax.jit(lambda x: _evaluate(x, labels, threats.threat_model(lambda v: host, _DEFENSE)))(images)


def test_verdicts_on_a_random_network_are_a_few_at_a_time(linear_images):
  """However many trials are judged, the network sees so many rows and no more."""
  seen = []

  def noisy(variables, keys, images, stddevs):
    seen.append(len(images))
    noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
    return linear_predict(variables, images + stddevs[:, None, None, None] * noise)

  classifier = lambda v: oracles.from_predict(linear_predict, v, noisy=noisy)
  images, labels = (np.concatenate([x] * 4) for x in linear_images)
  found = _evaluate(
    images,
    labels,
    threats.threat_model(classifier, defenses.inner_noise()),
    setting={"stddev": 0.1},
    num_draws=100,
    max_queries=22,
  )
  assert max(seen) <= 2048
  assert (np.asarray(found.noise_error_rate).reshape(4, -1).std(0) < 0.2).all()
  assert 0 < found.noise_error_rate.mean() < 1


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(images=np.zeros((8, 4, 4, 1), np.uint8)), "float32"),
    (dict(labels=np.zeros(3, np.int32)), "N, H, W, C"),
    (dict(max_queries=10), "does not pay for one step"),
    (dict(setting=None), "the defense needs 'stddev' in its setting"),
  ],
)
def test_bad_input_is_refused(linear_images, change, message):
  images, labels = linear_images
  arguments = {"images": images, "labels": labels, **change}
  with pytest.raises(ValueError, match=message):
    _evaluate(**arguments)


def test_a_model_that_answers_no_numbers_is_reported(linear_images):
  broken = lambda v: oracles.from_predict(lambda x: jnp.full((len(x), 3), jnp.nan))
  threat_model = threats.threat_model(broken, _DEFENSE)
  with pytest.raises(FloatingPointError, match="NaN or infinity for image 0"):
    _evaluate(*linear_images, threat_model)
  call = jax.jit(lambda images: _evaluate(images, linear_images[1], threat_model).finite)
  assert not call(linear_images[0]).any()


def test_the_package_loads_what_is_asked_for():
  program = """
import sys, orjax
assert not {"jax", "numpy"} & sys.modules.keys()
orjax.records.FIELDS
assert "jax" not in sys.modules
assert {"attacks", "evaluate", "oracles", "__version__"} <= set(dir(orjax))
orjax.attacks.zoo, orjax.training.fit, orjax.engine.run, orjax.runner.run
assert orjax.evaluate is orjax.closed.evaluate
try:
  orjax.nothing
except AttributeError as e:
  assert "no attribute 'nothing'" in str(e)
else:
  raise AssertionError
"""
  subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_lists_all_of_itself():
  root = pathlib.Path(orjax.__file__).parent
  rooms = {p.stem for p in root.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
  assert rooms - {"__init__"} <= set(orjax.__all__)
  pyproject = tomllib.loads((root.parent / "pyproject.toml").read_text())
  assert orjax.__version__ == pyproject["project"]["version"]
  assert (root / "py.typed").exists()
