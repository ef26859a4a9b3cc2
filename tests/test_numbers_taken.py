"""Numbers that an attack, an estimator or a formula cannot mean are refused at once."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import attacks
from orjax import defenses
from orjax import estimators
from orjax import factories
from orjax import objectives
from orjax import oracles
from orjax import records
from orjax import theory

_LOSS = objectives.log_margin()
_NAN, _P = float("nan"), np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], np.float32)
_ORACLE = oracles.from_predict(lambda images: images)


def _noise(stddev, **options):
  oracle = oracles.with_output_noise(_ORACLE, stddev, **options)
  return oracle.query(jax.random.key(0), jnp.ones((2, 2)))


@pytest.mark.parametrize(
  "make, words",
  [
    (lambda: attacks.ql(_LOSS, radius=_NAN), "radius must be above 0 and finite, not nan"),
    (lambda: attacks.ql(_LOSS, radius=-0.1), "radius must be above 0"),
    (lambda: attacks.ql(_LOSS, radius="0.1"), "radius must be a number"),
    (lambda: attacks.ql(_LOSS, radius=np.array([0.1, 0.2])), "radius must be a number"),
    (lambda: attacks.ql(_LOSS, radius=jnp.float32(-1)), "radius must be above 0"),
    (lambda: attacks.ql(_LOSS, smoothing=0), "smoothing must be above 0"),
    (lambda: attacks.ql(_LOSS, num_pairs=2.5), "num_pairs must be at least 1 .* whole"),
    (lambda: attacks.ql(_LOSS, num_pairs=0), "num_pairs must be at least 1"),
    (lambda: attacks.ql(_LOSS, momentum=1), "momentum must be at least 0 and below 1"),
    (lambda: attacks.ql(_LOSS, confirmations=-1), "confirmations must be at least 0"),
    (lambda: attacks.ql(_LOSS, step_size=1e-60), "which is 0 in float32"),
    (lambda: attacks.ql(_LOSS, plateau=attacks.Plateau(1)), "length of a plateau"),
    (lambda: attacks.ql(_LOSS, plateau=attacks.Plateau(5, _NAN)), "factor of a plateau"),
    (lambda: attacks.bandits(_LOSS, prior_size=0), "prior_size must be at least 1"),
    (lambda: attacks.bandits(_LOSS, prior_learning_rate=_NAN), "prior_learning_rate"),
    (lambda: attacks.zoo(_LOSS, check_every=0), "check_every must be at least 1"),
    (lambda: attacks.zoo(_LOSS, spacing=1e-50), "spacing must be above 0 .*0 in float32"),
    (lambda: attacks.zoo(_LOSS, initial_trade_off=1e39), "which is inf in float32"),
    (lambda: attacks.carlini_wagner(_LOSS, learning_rate=_NAN), "learning_rate"),
    (lambda: attacks.whitebox_pgd(_LOSS, radius=math.inf), "radius must be above 0 and finite"),
    (lambda: attacks.low_frequency_noise(scale=_NAN), "scale"),
    (lambda: attacks.in_rounds(attacks.ql(_LOSS), num_steps=0, num_rounds=1), "num_steps"),
    (lambda: attacks.patience(attacks.ql(_LOSS), max_steps=_NAN), "max_steps"),
    (lambda: estimators.finite_difference(num_coordinates=0), "num_coordinates"),
    (lambda: estimators.nes(num_pairs=-1), "num_pairs"),
    (lambda: objectives.margin(confidence=_NAN), "confidence must be at least 0, not nan"),
    (lambda: objectives.margin(confidence=-1), "confidence"),
    (lambda: oracles.averaged(_ORACLE, 2.5), "num_samples"),
    (lambda: _noise(_NAN), "stddev must be at least 0"),
    (lambda: _noise(np.array([0.1, -0.1])), "not -0.1"),
    (lambda: _noise(0.1, mean=math.inf), "mean"),
    (lambda: defenses.output_noise().settings(_NAN), "nan"),
    (lambda: theory.exact_misclassification_rate(_P, stddev=-1), "stddev"),
    (lambda: theory.exact_misclassification_rate(_P, np.array([0.1, _NAN])), "stddev"),
    (lambda: theory.exact_misclassification_rate(np.ones((2, 1)), 0.1), "K >= 2"),
    (lambda: theory.calibrate(_P * _NAN, 0.01), "probs must be finite"),
    (lambda: theory.calibrate(_P[:0], 0.01), "not empty"),
    (lambda: theory.calibrate(_P, -1.0), "misclassification_rate"),
    (lambda: theory.calibrate(_P, _NAN), "misclassification_rate"),
    (lambda: theory.calibrate(_P, 0.0), "misclassification_rate must be above 0"),
    (lambda: theory.allowed_stddev(0.1, 0.7), "misclassification_rate must be above 0 and below"),
    (lambda: theory.allowed_stddev(-1.0, 0.1), "margin"),
    (lambda: theory.expected_largest(1), "num_classes must be at least 2"),
    (lambda: theory.vote_error(3, 1.5), "flip_rate"),
    (lambda: theory.nes_cosine(0, 100, 1.0), "num_pairs"),
    (lambda: theory.log_slope_error(0.6, 0.4, 0.1, 0.0), "spacing"),
    (lambda: records.wilson(5, 3), "5"),
  ],
)
def test_a_number_that_means_nothing_is_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


def test_traced_numbers_and_the_edges_pass():
  objectives.margin(confidence=math.inf)
  attacks.ql(_LOSS, momentum=0, confirmations=0)
  attacks.zoo(_LOSS, check_every=None, spacing=np.float64(1e-4), num_coordinates=np.int64(3))
  jax.jit(lambda x: attacks.coordinate_descent(_LOSS, attacks.adam(), trade_off=x) and x)(1.0)
  jax.jit(_noise)(0.1)
  assert theory.calibrate([[0.7, 0.2, 0.1]], 0.01) == theory.calibrate(_P[:1], 0.01)


def test_the_flags_have_the_bounds_of_the_library():
  from harness.attacks import flags

  same = {"trade_off": "trade_off", "restarts": "num_restarts"}
  checked = 0
  for option in flags.BY_NAME.values():
    limit = factories.LIMITS.get(same.get(option.name, option.name))
    if limit is None or option.name in ("check_every", "prior_size"):  # 0 stands for none
      continue
    assert {k: getattr(option, k) for k in limit.bounds()} == limit.bounds(), option.name
    checked += 1
  assert checked >= 15


def test_products_are_equal_by_their_arguments_and_say_them():
  make = lambda **options: attacks.ql(objectives.cross_entropy(), num_pairs=5, **options)
  assert make() == make() and hash(make()) == hash(make()) and make() != make(radius=0.1)
  assert make() != attacks.ql(objectives.log_margin(), num_pairs=5)
  assert repr(make(radius=0.1)) == (
    "ql(objective=cross_entropy(targeted=False), num_pairs=5, smoothing=0.001, radius=0.1, "
    "norm='linf', step_size=0.01, momentum=0.9, plateau=Plateau(length=5, factor=2.0, "
    "min_step_size=5e-05, reversed=False), confirmations=0)"
  )
  assert "0x" not in repr(attacks.keep_best(attacks.zoo(_LOSS, solver=attacks.newton())))
  changed = make()._replace(step=lambda *arguments: None)
  assert changed != make() and repr(changed).startswith("Attack(init=ql(")


def test_a_ledger_of_one_attack_refuses_another(tmp_path):
  asked = lambda attack: {"attack": repr(attack)}
  records.check_manifest(tmp_path, asked(attacks.ql(_LOSS)), {})
  records.check_manifest(tmp_path, asked(attacks.ql(_LOSS)), {})
  with pytest.raises(ValueError, match="attack"):
    records.check_manifest(tmp_path, asked(attacks.ql(_LOSS, num_pairs=26)), {})
