"""What the attacker wants of one answer: losses to minimise and tests of success."""

import jax
import jax.numpy as jnp

from orjax.factories import factory
from orjax.types import clamped_log
from orjax.types import LOG_FLOOR
from orjax.types import LossFn
from orjax.types import Objective
from orjax.types import Oracle

_SUM_TOLERANCE = 1e-5  # to which a thousand float32 probabilities sum to 1
NON_POSITIVE = ("clamp", "zero", "discard")


def _classes(row):
  return jnp.arange(row.shape[-1], dtype=jnp.int32)


def rival(row: jax.Array, label: jax.Array) -> jax.Array:
  """The largest entry of `row` [K] other than `label`'s; masked with -inf."""
  return jnp.max(jnp.where(_classes(row) == label, -jnp.inf, row))


def asked(objective: Objective, oracle: Oracle, label: jax.Array) -> LossFn:
  """The loss of points as an attacker gets it: by asking the oracle about them."""

  def loss_fn(key, points):
    rows = oracle.query(key, points)
    return jax.vmap(objective.loss, in_axes=(0, None))(rows, label), rows

  return loss_fn


def achieved(targeted: bool):
  """The success test: the top class is the target, or is not the true class.

  An answer with an entry that is no finite number is no success.
  """

  def test(row, label):
    top = row.argmax(-1).astype(jnp.int32)
    return (top == label if targeted else top != label) & jnp.isfinite(row).all(-1)

  return test


def _lead(row, label, targeted):
  """Who must fall and who must rise: (leader, follower), each []."""
  own, other = row[label], rival(row, label)
  return (other, own) if targeted else (own, other)


@factory
def log_margin(*, targeted: bool = False, non_positive: str = "clamp") -> Objective:
  """The log-ratio hinge of ZOO (the paper's equations 7 and 8), on probabilities.

  max(0, log leader - log follower): untargeted the true class leads and the best rival
  follows, targeted the other way round. As in the official code the floor is 0 (not
  -confidence) and 1e-30 is added inside each log.

  Args:
    targeted: whether the label is a target.
    non_positive: what to do when a noisy probability is negative and has no log:
      `clamp`: treat it as 0, so that its log is log(1e-30), about -69;
      `zero`: the loss is 0, as the official code computes on a GPU, where
      max(0, NaN) is 0: the attacker takes that answer for a success;
      `discard`: the loss is infinite, and an attack ignores what it cannot use.

  Returns:
    An `Objective`. An answer that is NaN gives a NaN loss under every rule.

  Raises:
    ValueError: the rule is unknown.
  """
  if non_positive not in NON_POSITIVE:
    raise ValueError(f"non_positive must be one of {', '.join(NON_POSITIVE)}, not {non_positive!r}")

  def loss(row, label):
    leader, follower = _lead(row, label, targeted)
    hinge = jnp.maximum(clamped_log(leader) - clamped_log(follower), 0)
    if non_positive == "clamp":
      return hinge
    unusable = (leader < 0) | (follower < 0)
    return jnp.where(unusable, 0.0 if non_positive == "zero" else jnp.inf, hinge)

  return Objective(loss, achieved(targeted))


@factory
def cross_entropy(*, targeted: bool = False) -> Objective:
  """The cross-entropy of QL and Bandits, on probabilities.

  -log p of the target, or log p of the true class: both are minimised. The log's argument
  is clamped as in `log_margin`. The references took logits, whose loss is exact where p is
  near 1; a float32 p within 6e-8 of 1 has no slope. So where an answer sums to 1 (which one
  with noise does not) 1 - p is taken to be the sum of the other probabilities.

  Args:
    targeted: whether the label is a target.

  Returns:
    An `Objective`.

  References:
    Ilyas et al. (2018a), `attacks.py`; Ilyas et al. (2018b), `main.py` of their code.
  """

  def loss(row, label):
    own = jnp.maximum(row[label], 0) + LOG_FLOOR
    others = jnp.where(_classes(row) == label, 0, row).sum()
    proper = jnp.abs(row[label] + others - 1) < _SUM_TOLERANCE
    near_one = proper & (row[label] > 0.5)
    log_probability = jnp.where(
      near_one, -jnp.log1p(jnp.where(near_one, others, 0) / own), jnp.log(own)
    )
    return -log_probability if targeted else log_probability

  return Objective(loss, achieved(targeted))


@factory
def logit_cross_entropy(
  *, targeted: bool = False, divisor: float = 1.0, by_margin: bool = False
) -> Objective:
  """The cross-entropy of PGD, on logits; exact at any size of theirs.

  Where one logit leads by more than about 103, the softmax of float32 is exactly 0 and 1
  and so is its slope: 0. An attacker who divides the logits first gets a slope again.

  Args:
    targeted: whether the label is a target.
    divisor: of all logits, such as the stddev of the noise a network was trained with.
    by_margin: divide by each answer's own margin |z_label - max of the others| besides; it
      is not differentiated.

  Returns:
    An `Objective`.

  Raises:
    ValueError: `divisor` is not above 0.

  References:
    Madry et al. (2017), `pgd_attack.py` of the CIFAR10 challenge.
  """

  def loss(row, label):
    row = row / divisor
    if by_margin:
      gap = jax.lax.stop_gradient(jnp.abs(row[label] - rival(row, label)))
      row = row / jnp.maximum(gap, jnp.finfo(row.dtype).tiny ** 0.5)
    log_probability = row[label] - jax.nn.logsumexp(row)
    return -log_probability if targeted else log_probability

  return Objective(loss, achieved(targeted))


@factory
def dlr() -> Objective:
  """The difference of logits ratio: (z_label - max of the others) / (first - third logit).

  Does not depend on the scale of the logits, nor on a constant added to all. Untargeted.

  Returns:
    An `Objective` on logits of three classes or more.

  References:
    Croce and Hein (2020), `autopgd_base.py` of AutoAttack.
  """

  def loss(row, label):
    if row.shape[-1] < 3:
      raise ValueError(f"dlr needs three classes or more, not {row.shape[-1]}")
    top = jax.lax.top_k(row, 3)[0]
    return (row[label] - rival(row, label)) / (top[0] - top[2] + 1e-12)

  return Objective(loss, achieved(False))


@factory
def log_dlr() -> Objective:
  """`dlr` of log probabilities: no scale of the logits behind an answer changes it.

  The loss for a defense that scales its logits at random. Untargeted; of two classes the
  difference of log probabilities. The log's argument is clamped as in `log_margin`.

  Returns:
    An `Objective` on probabilities.
  """
  ratio = dlr()

  def loss(row, label):
    row = clamped_log(row)
    return ratio.loss(row, label) if row.shape[-1] > 2 else row[label] - rival(row, label)

  return Objective(loss, achieved(False))


@factory
def label_probability(*, targeted: bool = False) -> Objective:
  """The probability of the true class; of a target, its negative.

  The noise of one entry, where a margin has that of two. Of answers that are labels alone it
  is the label's share of the votes, as soon as answers are averaged or points spread.

  Args:
    targeted: whether the label is a target.

  Returns:
    An `Objective`.
  """
  sign = -1 if targeted else 1
  return Objective(lambda row, label: sign * row[label], achieved(targeted))


@factory
def vote(*, targeted: bool = False) -> Objective:
  """One vote: 0 for an answer whose top class is a success, 1 for another.

  All that is left of answers an attacker trusts for nothing but their top class: the score of
  label-only attacks, and steep only where probes are wide enough to cross a boundary.

  Args:
    targeted: whether the label is a target.

  Returns:
    An `Objective`. An answer that is no number gives a NaN loss.

  References:
    Ilyas et al. (2018a), section 2.4.
  """
  test = achieved(targeted)

  def loss(row, label):
    against = jnp.where(test(row, label), jnp.zeros((), row.dtype), jnp.ones((), row.dtype))
    return jnp.where(jnp.isfinite(row).all(-1), against, jnp.nan)

  return Objective(loss, test)


@factory
def margin(
  *, targeted: bool = False, confidence: float = 0.0, success_margin: float = 0.0
) -> Objective:
  """The linear hinge max(leader - follower, -confidence), on probabilities or logits.

  Its noise under output randomization is sqrt(2) stddev however small a probability
  is, and with a fixed rival it is unbiased (the largest of several noisy rivals is biased
  upwards); C&W use it on logits (their equation f6).

  Args:
    targeted: whether the label is a target.
    confidence: how far the follower must overtake before the loss stays flat; `inf` never.
    success_margin: how far it must overtake for a success, of an attack and of a verdict that
      takes this objective: C&W's kappa where it equals `confidence`. By default the top class
      decides, as in PGD(CW): probabilities are never 1 apart, logits seldom 50.

  Returns:
    An `Objective`.

  Raises:
    ValueError: `success_margin` is negative, or above `confidence`, where the loss is flat.
  """
  if not 0 <= success_margin <= confidence:
    raise ValueError(
      f"success_margin must be from 0 to the confidence of {confidence}, not {success_margin}: "
      "beyond it the loss is flat"
    )
  top = achieved(targeted)

  def loss(row, label):
    leader, follower = _lead(row, label, targeted)
    return jnp.maximum(leader - follower, -confidence)

  def far_enough(row, label):
    return top(row.at[label].add(-success_margin if targeted else success_margin), label)

  return Objective(loss, far_enough if success_margin else top)
