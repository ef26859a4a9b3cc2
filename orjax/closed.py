"""Closed calls for research code: attack an image or a batch, in one expression."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import host
from orjax.engine.trials import check_budget
from orjax.engine.trials import queries_per_step
from orjax.engine.trials import start
from orjax.engine.trials import step
from orjax.types import Attack
from orjax.types import Example
from orjax.types import Key
from orjax.types import Oracle


class Result(NamedTuple):
  """What an attack hands in: `adversarial` [H, W, C], and what it cost.

  `claimed` is the attack's own view through the oracle. It is no verdict: ask the
  undefended model about `adversarial`.
  """

  adversarial: jax.Array
  claimed: jax.Array
  loss: jax.Array
  num_steps: jax.Array
  num_queries: jax.Array


def attack_one(
  key: Key, attack: Attack, oracle: Oracle, image: jax.Array, label: jax.Array, *, max_queries: int
) -> Result:
  """Attacks one image: `attack_batch` with one image, keyed by `key` itself.

  Args:
    key: consumed; the same key gives the same bits.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    image: float32 [H, W, C] in [0, 1].
    label: the true class, or the target of a targeted objective.
    max_queries: never exceeded.

  Returns:
    A `Result`. Works under `jax.jit` and `jax.vmap`.
  """
  results = _attack(
    jax.tree.map(lambda k: k[None], key),
    attack,
    oracle,
    image[None],
    jnp.asarray(label)[None],
    max_queries,
  )
  return jax.tree.map(lambda x: x[0], results)


def attack_batch(
  key: Key,
  attack: Attack,
  oracle: Oracle,
  images: jax.Array,
  labels: jax.Array,
  *,
  max_queries: int,
) -> Result:
  """Attacks a batch of images in one call.

  Args:
    key: consumed; image i is attacked with `fold_in(key, i)`.
    attack: from `orjax.attacks`.
    oracle: from `orjax.oracles`.
    images: float32 [N, H, W, C] in [0, 1].
    labels: int [N]: true classes, or the targets of a targeted objective.
    max_queries: per image, never exceeded.

  Returns:
    A `Result` with a leading axis N. Works under `jax.jit`: the same key gives the
    same bits.

  Raises:
    ValueError: shapes that do not fit, images that are not float32, or a budget below
      one step.

  Example:
    oracle = oracles.with_output_noise(oracles.from_predict(predict), stddev=0.01)
    attack = attacks.zoo(objectives.log_margin())
    result = orjax.attack_batch(key, attack, oracle, images, labels, max_queries=50_000)
  """
  images, labels = jnp.asarray(images), jnp.asarray(labels)
  if images.ndim != 4 or labels.shape != images.shape[:1]:
    raise ValueError(
      f"images must be [N, H, W, C] with labels [N], not {images.shape} with {labels.shape}"
    )
  keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(len(images)))
  return _attack(keys, attack, oracle, images, labels, max_queries)


def _attack(keys, attack, oracle, images, labels, max_queries):
  if images.dtype != jnp.float32:
    raise ValueError(f"images must be float32 in [0, 1], not {images.dtype}: divide bytes by 255")
  examples = Example(images, labels.astype(jnp.int32))
  first = jax.tree.map(lambda x: x[0], examples)
  check_budget(queries_per_step(attack, oracle, first), max_queries)
  zero = jnp.zeros((), jnp.int32)
  batch = jax.vmap(lambda key, example: start(attack, key, example, zero, zero, None))(
    keys, examples
  )

  def body(batch):
    return jax.vmap(lambda key, trial: step(attack, oracle, key, trial, max_queries))(keys, batch)

  if host.asks(oracle.query, jax.random.key(0), images[:1]):
    if isinstance(images, jax.core.Tracer):
      raise ValueError(
        "a model outside JAX cannot be asked inside jit or vmap: call the attack outside"
      )
    asked_body = host.staged(body)
    while not (finished := np.asarray(batch.finished)).all():
      batch = asked_body(batch, wanted=~finished)
  else:
    batch = jax.lax.while_loop(lambda batch: ~batch.finished.all(), body, batch)
  return Result(
    batch.state.adversarial, batch.claimed, batch.loss, batch.num_steps, batch.num_queries
  )
