"""A classifier that answers, and what is known of it."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import checkpoints
from orjax import host
from orjax import oracles
from orjax.types import Oracle

_LARGE = 64 * 64 * 3  # entries of an image


class Model(NamedTuple):
  """A classifier that answers, and what is known of it.

  Attributes:
    clean: `clean(variables) -> Oracle` of probabilities: the undefended model.
    logits: `logits(variables) -> Oracle` of logits; None of a model outside JAX.
    apply: `apply(variables, images) -> logits`; None of a model outside JAX.
    apply_float64: likewise, in float64 where the variables and images are.
    variables: its parameters.
    image_shape: (H, W, C).
    num_classes: K.
    name: for the records.
    fingerprint: for the manifest.
    trained_with: for the records; None where it is not known.
    training: facts about its training, as far as they are known.
    random: whether it draws from a key itself.
    users: whether it is the user's own, and so to be looked at.
    judge: the undefended model of a server's, outside JAX; None where `clean` is that.
    endpoints: of a model outside JAX and of its judge, which count what they are asked.
  """

  clean: Callable[[Any], Oracle]
  logits: Callable[[Any], Oracle] | None
  apply: Callable[[Any, jax.Array], jax.Array] | None
  apply_float64: Callable[[Any, jax.Array], jax.Array] | None
  variables: Any
  image_shape: tuple[int, int, int]
  num_classes: int
  name: str
  fingerprint: str
  trained_with: str | None = None
  training: dict = {}  # noqa: RUF012, never written to
  random: bool = False
  users: bool = False
  judge: Oracle | None = None
  endpoints: tuple[host.Endpoint, ...] = ()

  def undefended(self, variables: Any) -> Oracle:
    """Who says what is adversarial: the judge, where there is one."""
    return self.clean(variables) if self.judge is None else self.judge


def from_jax(
  apply,
  variables,
  image_shape,
  num_classes,
  name,
  *,
  rows_per_call=None,
  apply_noisy=None,
  apply_float64=None,
  random=False,
) -> Model:
  """A model of `apply(variables, images) -> logits`.

  Args:
    apply: the network.
    variables: its parameters.
    image_shape: (H, W, C).
    num_classes: K.
    name: for the records.
    rows_per_call: images it sees at a time; None for all.
    apply_noisy: `apply_noisy(variables, keys, images, stddevs) -> logits` with noise inside,
      where it has a place for it.
    apply_float64: the network in float64, where that is another function.
    random: it is `apply(variables, keys [B], images)`, and draws in a row from its key.
  """

  def oracle(finish, variables):
    if random:
      answer = lambda v, keys, x: finish(apply(v, keys, x))
      return oracles.from_random_predict(answer, variables, rows_per_call=rows_per_call)

    def noisy(v, keys, x, stddevs):
      assert apply_noisy, "asked only where there is one"
      return finish(apply_noisy(v, keys, x, stddevs))

    return oracles.from_predict(
      lambda v, x: finish(apply(v, x)),
      variables,
      noisy=noisy if apply_noisy else None,
      rows_per_call=rows_per_call,
    )

  variables = jax.tree.map(jnp.asarray, variables)
  return Model(
    functools.partial(oracle, jax.nn.softmax),
    functools.partial(oracle, lambda x: x),
    apply,
    apply_float64 or apply,
    variables,
    image_shape,
    num_classes,
    name,
    checkpoints.fingerprint(variables),
    random=random,
  )


def in_float64(model: Model, rows_per_call: int | None) -> Model:
  """The same network in float64; call under `jax.enable_x64`."""
  variables = jax.tree.map(
    lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, model.variables
  )
  images = jax.ShapeDtypeStruct((1, *model.image_shape), jnp.float64)
  assert model.apply_float64, "a model outside JAX is refused before"
  found = jax.eval_shape(model.apply_float64, variables, images).dtype
  if found != jnp.float64:
    raise ValueError(f"the model computes in {found} whatever it is given: leave --float64 out")
  return from_jax(
    model.apply_float64,
    variables,
    model.image_shape,
    model.num_classes,
    model.name,
    rows_per_call=rows_per_call,
  )._replace(trained_with=model.trained_with)


def default_rows_per_call(image_shape: tuple[int, ...]) -> int | None:
  """Images that the network sees at a time, which bounds memory; None for all."""
  if np.prod(image_shape) < _LARGE:
    return None
  return 16 if jax.default_backend() == "cpu" else 256
