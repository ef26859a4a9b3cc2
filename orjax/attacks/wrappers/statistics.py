"""What one answer says of how far an image is from another class, in several ways.

All are computed of the same answer, so that an attacker pays once to compare them: noise that
hides one may leave another alone. Untargeted; each is positive where the true class leads.
"""

import jax
import jax.numpy as jnp
import numpy as np

from orjax import objectives
from orjax.types import LOG_FLOOR
from orjax.types import Objective

# Where two are as good, the first is taken.
NAMES = ("log_margin", "margin", "dlr", "cross_entropy")
# The loss stays flat beyond the boundary, so that the pull towards the image ends there; the
# cross-entropy has no value of its own at a boundary.
_FLOORS = (0.0, 0.0, 0.0, -np.inf)
_MARGIN = objectives.margin(confidence=np.inf)
_DLR = objectives.dlr()
_CROSS_ENTROPY = objectives.cross_entropy()


def values(row: jax.Array, label: jax.Array, noise: jax.Array) -> jax.Array:
  """Every statistic of an answer, float32 [4] in the order of `NAMES`.

  The difference of log p and of p; log p's difference over that of its first and third, which
  no scale of the logits changes (of two classes: as the first); and log p.

  Args:
    row: the answer [K].
    label: the true class int32 [].
    noise: standard deviation of what was added to a probability, at least 0 []: a smaller
      probability is taken for as large, as its logarithm is noise alone.
  """
  probabilities = jnp.maximum(row, noise)
  log_row = jnp.log(probabilities + LOG_FLOOR)
  log_margin = _MARGIN.loss(log_row, label)
  ratio = _DLR.loss(log_row, label) if row.shape[-1] > 2 else log_margin
  return jnp.stack(
    [log_margin, _MARGIN.loss(row, label), ratio, _CROSS_ENTROPY.loss(probabilities, label)]
  )


def objective(
  success: Objective, which: jax.Array, *, scale: jax.Array, noise: jax.Array
) -> Objective:
  """The objective of a statistic that was picked while the attack ran.

  Args:
    success: whose `achieved` is the test.
    which: of `NAMES`, int32 []; may be traced.
    scale: the loss is the statistic times this.
    noise: see `values`.
  """

  def loss(row, label):
    found = jnp.maximum(values(row, label, noise), jnp.asarray(_FLOORS, row.dtype))
    return scale * found[which]

  return Objective(loss, success.achieved)
