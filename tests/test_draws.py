"""Draws of attacks: what only some trials need is made for those; bits are those of jax.random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orjax import geometry
from orjax.attacks.steps import draws

NORMAL = draws.normal, jax.random.normal
UNIFORM = (
  lambda key, shape: draws.uniform(key, shape, -2e-3, 2e-3),
  lambda key, shape: jax.random.uniform(key, shape, minval=-2e-3, maxval=2e-3),
)
BOTH = pytest.mark.parametrize("ours, of_jax", [NORMAL, UNIFORM])


@BOTH
@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (1, 28, 28, 1), (5, 33)])
def test_draws_are_those_of_jax_bit_for_bit(shape, ours, of_jax):
  keys = jax.random.split(jax.random.key(3), 40)
  found = jax.jit(jax.vmap(lambda key: ours(key, shape)))(keys)
  np.testing.assert_array_equal(found, jax.vmap(lambda key: of_jax(key, shape))(keys))


@BOTH
def test_a_key_of_another_generator_draws_what_jax_draws(ours, of_jax):
  key = jax.random.key(3, impl="rbg")
  np.testing.assert_array_equal(ours(key, (6,)), of_jax(key, (6,)))


@BOTH
def test_the_generator_of_before_2025_draws_what_jax_draws(ours, of_jax):
  with jax.threefry_partitionable(False):
    key = jax.random.key(3)
    np.testing.assert_array_equal(ours(key, (7,)), of_jax(key, (7,)))


def test_a_draw_is_made_where_it_is_wanted_and_not_at_all_if_nowhere():
  made = []

  def draw(key):
    jax.debug.callback(lambda: made.append(1))
    return jax.random.uniform(key, (3,))

  @jax.jit
  @jax.vmap
  def some(wanted, key):
    return draws.where(wanted, draw, key, jnp.full(3, -1.0))

  keys = jax.random.split(jax.random.key(0), 4)
  np.testing.assert_array_equal(some(jnp.zeros(4, bool), keys), np.full((4, 3), -1.0))
  jax.effects_barrier()
  assert not made
  wanted = jnp.array([False, True, False, True])
  found = some(wanted, keys)
  jax.effects_barrier()
  assert made
  drawn = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
  np.testing.assert_array_equal(found, np.where(wanted[:, None], drawn, -1.0))


@pytest.mark.parametrize("few, many", [((7, 7), (28, 28)), ((8, 5), (28, 30)), ((3, 3), (3, 2))])
def test_enlarged_tiles_are_repeated(few, many):
  tiles = np.random.default_rng(0).normal(size=(*few, 2)).astype(np.float32)
  rows, columns = (np.arange(size) * f // size for f, size in zip(few, many))
  expected = tiles[rows][:, columns]
  np.testing.assert_array_equal(geometry.enlarge(jnp.asarray(tiles), *many), expected)
