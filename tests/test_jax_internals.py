"""Every part of JAX that may move: used once, so that a JAX without it is known by this file."""

import importlib
import sys
import types

import jax
from jax import extend
import jax.numpy as jnp
import numpy as np
import pytest

import orjax
from orjax import attacks
from orjax import estimators
from orjax import objectives
from orjax import oracles
from orjax.host import jax_internals

_IMAGES = np.arange(6, dtype=np.float32).reshape(2, 3)


def _doubled(name="double_on_host"):
  """x -> 2 x, outside of compiled programs; the first argument is a key's."""
  return jax_internals.primitive(
    name,
    jax_internals.Rules(
      answer=lambda key, x, *, times: jnp.asarray(times * np.asarray(x)),
      shape=lambda key, x, *, times: (x.shape, x.dtype),
      batch=lambda arrays, axes, *, times: (
        made.bind(*arrays, times=times * (1 if axes[1] is not None else 10)),
        axes[1],
      ),
      not_compiled="it cannot be asked from inside a compiled function",
      no_gradient="it has no gradient: choose another attack",
    ),
  )


made = _doubled()


def _ask(key, x):
  return made.bind(jax.random.key_data(key), x, times=2.0)


def test_a_primitive_answers_and_is_mapped():
  key = jax.random.key(0)
  np.testing.assert_array_equal(_ask(key, jnp.asarray(_IMAGES)), 2 * _IMAGES)
  over_images = jax.vmap(_ask, (None, 0))(key, jnp.asarray(_IMAGES))
  np.testing.assert_array_equal(over_images, 2 * _IMAGES)
  # Over keys alone its own rule is asked, which multiplies by ten here.
  keys = jax.random.split(jax.random.key(0), 2)
  over_keys = jax.vmap(_ask, (0, None), out_axes=None)(keys, jnp.asarray(_IMAGES[0]))
  np.testing.assert_array_equal(over_keys, 20 * _IMAGES[0])
  over_both = jax.vmap(_ask)(keys, jnp.asarray(_IMAGES))
  np.testing.assert_array_equal(over_both, 2 * _IMAGES)


def test_a_primitive_refuses_what_it_cannot_in_our_words():
  key, x = jax.random.key(0), jnp.asarray(_IMAGES)
  derivative = jax.grad(lambda x: _ask(key, x).sum())
  for refused, words in (
    (lambda: jax.jit(_ask)(key, x), "it cannot be asked from inside a compiled function"),
    (lambda: jax.lax.map(lambda row: _ask(key, row), x), "it cannot be asked from inside a"),
    (lambda: derivative(x), "it has no gradient: choose another attack"),
    (lambda: jax.vmap(derivative)(x), "it has no gradient: choose another attack"),
  ):
    with pytest.raises(ValueError) as found:
      refused()
    assert str(found.value).startswith(words)  # a note of JAX's comes behind in a traceback


def test_a_function_is_cut_into_parts():
  offset = jnp.float32(3)

  def function(key, x):
    return {"a": jnp.sin(x) + offset, "b": _ask(key, x) * 2.0, "c": 5}

  arguments = jax.random.key(0), jnp.asarray(_IMAGES)
  jaxpr, constants, structure = jax_internals.traced(function, *arguments)
  names = [eqn.primitive.name for eqn in jaxpr.eqns]
  assert structure == jax.tree.structure({"a": 0, "b": 0, "c": 0})
  place = names.index("double_on_host")
  assert jaxpr.eqns[place].primitive is made and jaxpr.eqns[place].params["times"] == 2.0
  assert jax_internals.constant(jaxpr.outvars[2]) == (5,)
  assert jax_internals.constant(jaxpr.outvars[0]) is None
  before = jaxpr.eqns[:place]
  values = dict(zip(jaxpr.constvars, constants)) | dict(zip(jaxpr.invars, arguments))
  made_here = {v for eqn in before for v in eqn.outvars}
  used = [v for eqn in before for v in eqn.invars if jax_internals.constant(v) is None]
  inputs = list(dict.fromkeys(v for v in used if v not in made_here))
  question = jaxpr.eqns[place].invars
  program = jax_internals.part(jaxpr, before, inputs, [question[0]])
  (tag,) = program(*(values[v] for v in inputs))
  np.testing.assert_array_equal(tag, jax.random.key_data(arguments[0]))
  # The part behind the question, from its answer on.
  (answer,), outputs = jaxpr.eqns[place].outvars, [jaxpr.outvars[1]]
  behind = [eqn for eqn in jaxpr.eqns[place + 1 :] if set(eqn.outvars) & set(outputs)]
  (found,) = jax_internals.part(jaxpr, behind, [answer], outputs)(jnp.asarray(2 * _IMAGES))
  np.testing.assert_array_equal(found, 4 * _IMAGES)


def test_what_is_traced_is_known():
  seen = []

  def function(x):
    seen.append((jax_internals.is_traced(x), jax_internals.is_traced(1.0, _IMAGES)))
    return x

  function(jnp.float32(0))
  jax.jit(function)(jnp.float32(0))
  jax.vmap(function)(jnp.zeros(2))
  assert seen == [(False, False), (True, False), (True, False)]


def test_a_function_has_its_own_rule_under_vmap():
  @jax_internals.custom_vmap
  def function(x):
    return x + 1.0

  @function.def_vmap
  def rule(axis_size, in_batched, x):
    assert axis_size == 3 and in_batched == [True]
    return x + 100.0, True

  np.testing.assert_array_equal(function(jnp.zeros(3)), np.ones(3))
  np.testing.assert_array_equal(jax.vmap(function)(jnp.zeros(3)), np.full(3, 100.0))
  np.testing.assert_array_equal(jax.jit(jax.vmap(function))(jnp.zeros(3)), np.full(3, 100.0))


_OURS = r"^orjax uses parts of JAX that JAX .* does not have \(.*\): pip install 'jax>=.*'$"


def test_a_jax_that_lacks_a_piece_is_told_at_its_import(monkeypatch):
  without = types.ModuleType("jax.custom_batching")
  monkeypatch.setitem(sys.modules, "jax.custom_batching", without)
  monkeypatch.delitem(sys.modules, jax_internals.__name__)
  with pytest.raises(ImportError, match=_OURS):
    importlib.import_module(jax_internals.__name__)


@pytest.mark.parametrize("name", ["Primitive", "ClosedJaxpr", "jaxpr_as_fun"])
def test_a_jax_that_lacks_a_piece_is_told_at_its_use(name, monkeypatch):
  jaxpr, *_ = jax_internals.traced(lambda x: x + 1.0, jnp.zeros(2))
  without = types.SimpleNamespace(**vars(extend.core))
  delattr(without, name)
  monkeypatch.setattr(jax_internals, "core", without)
  with pytest.raises(ImportError, match=_OURS):
    _doubled("another")
    jax_internals.part(jaxpr, jaxpr.eqns, jaxpr.invars, jaxpr.outvars)


@pytest.mark.parametrize(
  "attack",
  [
    lambda: attacks.carlini_wagner(objectives.margin(), estimators.autodiff()),
    lambda: attacks.pgd(objectives.margin(), estimators.autodiff(), radius=0.1),
    lambda: attacks.whitebox_pgd(objectives.margin(), radius=0.1),
  ],
  ids=["carlini_wagner", "pgd", "whitebox_pgd"],
)
def test_an_attack_that_wants_gradients_says_what_to_choose(attack):
  asked = []

  def fn(images):
    asked.append(len(images))
    return np.full((len(images), 3), 1 / 3, np.float32)

  images = np.full((2, 4, 4, 1), 0.5, np.float32)
  with pytest.raises(ValueError, match="^a model outside JAX has no gradient: choose .* zoo"):
    orjax.attack_batch(
      jax.random.key(0),
      attack(),
      oracles.from_host(fn, 3),
      images,
      np.zeros(2, np.int32),
      max_queries=100,
    )
  assert not asked  # nothing is paid for
