"""An evolution strategy of evosax's on the low frequencies of an image."""

import contextlib
import functools
import importlib
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from orjax import geometry
from orjax.attacks import wrappers
from orjax.attacks.steps import ask_tell
from orjax.attacks.steps.ask_tell import AskTell
from orjax.attacks.wrappers import votes
from orjax.factories import factory
from orjax.types import Attack
from orjax.types import Objective

_WORST = 1e30  # of a candidate whose loss is no number
# Of evosax's strategies those that look at ranks alone and whose mean is no single candidate.
ALGORITHMS = ("SNES", "Sep_CMA_ES", "CR_FM_NES", "CMA_ES")
_IN_PAIRS = ("CR_FM_NES",)


class EvolutionState(NamedTuple):
  """What the strategy knows, and the image of its mean [H, W, C], which was judged last."""

  strategy: Any
  adversarial: jax.Array


def _cosines(few: int, many: int) -> np.ndarray:
  """The first vectors of the orthonormal DCT-II, float32 [few, many]."""
  k, x = np.arange(few)[:, None], np.arange(many)[None]
  found = np.cos(np.pi / many * (x + 0.5) * k) * np.sqrt(2 / many)
  found[0] /= np.sqrt(2)
  return found.astype(np.float32)


def low_frequencies(coefficients: jax.Array, height: int, width: int) -> jax.Array:
  """The image of DCT coefficients: pixels of mean variance 1 if all of those have variance 1.

  Args:
    coefficients: [n, m, C], of the n and m lowest frequencies.
    height: H.
    width: W.

  Returns:
    [H, W, C]. Terms are added one by one, so that rounding does not depend on the batch.
  """
  add = lambda total, term: (total + term[0][None] * term[1][:, None, None], None)
  for many in (height, width):  # transforms the first axis, and leaves it second
    few, kept, channels = coefficients.shape
    zeros = jnp.zeros((many, kept, channels), coefficients.dtype)
    basis = jnp.asarray(_cosines(few, many) * np.float32(np.sqrt(many / few)))
    coefficients = jax.lax.scan(add, zeros, (coefficients, basis))[0].swapaxes(0, 1)
  return coefficients


@contextlib.contextmanager
def _numpy_rules():
  """evosax relies on implicit promotion, which a caller may have forbidden."""
  with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
    yield


def _algorithm(algorithm):
  """The class of an evosax strategy."""
  try:
    algorithms = importlib.import_module("evosax.algorithms")
  except ImportError as error:
    raise ImportError(
      "attacks.evolution needs evosax: pip install 'orjax[evolution]', or pip install evosax"
    ) from error
  return getattr(algorithms, algorithm)


def _plain(state):
  """A state of a strategy without weak types and without the best of its candidates.

  Of noisy losses the smallest is the luckiest: the mean is handed in, and the best, NaN
  at first, is not kept.
  """
  state = state.replace(
    best_solution=jnp.zeros_like(state.best_solution), best_fitness=jnp.float32(0)
  )
  return jax.tree.map(lambda x: jax.lax.convert_element_type(x, jnp.asarray(x).dtype), state)


def _evolution(objective, radius, norm, algorithm, population_size, num_frequencies):
  make = _algorithm(algorithm)

  @functools.cache
  def strategy(height, width, channels):
    few = (min(num_frequencies, height), min(num_frequencies, width), channels)
    with jax.ensure_compile_time_eval():  # its numbers are constants wherever it is traced
      found = make(population_size=population_size, solution=jnp.zeros(few, jnp.float32))
      return found, found.default_params

  def image_of(example, coefficients):
    height, width, _ = example.image.shape
    change = low_frequencies(coefficients, height, width)
    return geometry.project(example.image + radius * change, example.image, radius, norm)

  def init(key, example):
    with _numpy_rules():
      found, params = strategy(*example.image.shape)
      return EvolutionState(_plain(found.init(key, found.solution, params)), example.image)

  def ask(key, example, state):
    ask_key, tell_key = jax.random.split(key)
    with _numpy_rules():
      found, params = strategy(*example.image.shape)
      population, asked = found.ask(ask_key, state.strategy, params)
      mean = found.get_mean(state.strategy)
    candidates = jax.vmap(lambda x: image_of(example, x))(population)
    middle = image_of(example, mean)
    return jnp.concatenate([middle[None], candidates]), (tell_key, population, asked, middle)

  def tell(example, state, notes, rows):
    del state
    key, population, asked, middle = notes
    losses = ask_tell.losses(objective, rows, example.label)
    fitness = jnp.where(jnp.isfinite(losses[1:]), losses[1:], _WORST)
    with _numpy_rules():
      found, params = strategy(*example.image.shape)
      told, _ = found.tell(key, population, fitness, asked, params)
    success = ask_tell.achieved(objective, rows[:1], example.label)[0]
    flat = (fitness == fitness[0]).all()
    info = ask_tell.report(losses[0], success, learnt=success | ~flat)
    return EvolutionState(_plain(told), middle), info

  return AskTell(init, ask, tell)


@factory
def evolution(
  objective: Objective,
  *,
  radius: float = 0.05,
  norm: str = "linf",
  algorithm: str = "SNES",
  population_size: int = 32,
  num_frequencies: int = 14,
  lead: int = 1,
) -> Attack:
  """An evolution strategy in a ball, whole, until the first success; never gives up.

  Candidates are the image plus the radius times a pattern of low frequencies (an image's
  DCT coefficients, each of variance 1 at first), projected into the ball. Only the order of
  their losses counts, and probes are as long as the ball is wide. The strategy's mean is
  judged and handed in, never its best candidate, which under output noise is the luckiest.

  Args:
    objective: its loss ranks the candidates.
    radius: of the ball, in units of [0, 1].
    norm: `linf` or `l2`.
    algorithm: of evosax, one of `ALGORITHMS`: separable natural evolution by default. CMA_ES
      holds a matrix of as many rows as there are coefficients.
    population_size: candidates a step; even for CR_FM_NES.
    num_frequencies: along each side and of each channel, or all, of small images.
    lead: of looks that say success, before one is believed; 1 believes a single look; see
      `theory.vote_lead`.

  Returns:
    An `Attack` that asks population_size + 1 rows a step, the first of them about the mean.

  Raises:
    ValueError: the norm or the algorithm is unknown, or a number that no attack can use.
    ImportError: evosax is not installed.

  References:
    Wierstra et al. (2014), of the default; evosax (Lange, 2022).
  """
  geometry.check_norm(norm)
  if algorithm not in ALGORITHMS:
    raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
  if algorithm in _IN_PAIRS and population_size % 2:
    raise ValueError(f"population_size={population_size} must be even for {algorithm}")
  search = _evolution(objective, radius, norm, algorithm, population_size, num_frequencies)
  if lead > 1:
    search = votes.voted(search, objective, rule=votes.vote(lead=lead))
  return wrappers.until_success(ask_tell.from_ask_tell(search))
