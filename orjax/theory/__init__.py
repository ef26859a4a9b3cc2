"""Closed forms of the paper's sections 5, 6 and 9.3: corrected, and as printed.

`as_printed=True` gives the formula of the paper where it differs; the docstring says how.
All functions are elementwise or work on the last axis, trace under jit and vmap, and keep
their accuracy in the tails; they compute in the dtype of their arguments.
"""

from orjax.theory.misclassification import allowed_stddev
from orjax.theory.misclassification import calibrate
from orjax.theory.misclassification import exact_misclassification_rate
from orjax.theory.misclassification import margins
from orjax.theory.misclassification import misclassification_rate
from orjax.theory.misclassification import union_bound
from orjax.theory.regularisation import asymptotic_training_loss
from orjax.theory.regularisation import cross_entropy_hessian
from orjax.theory.regularisation import expected_largest
from orjax.theory.regularisation import lemma_1
from orjax.theory.regularisation import lemma_2
from orjax.theory.regularisation import mills_ratio
from orjax.theory.regularisation import mills_ratio_bounds
from orjax.theory.regularisation import training_regulariser
from orjax.theory.slopes import best_spacing
from orjax.theory.slopes import expanded_log_slope_bias
from orjax.theory.slopes import log_slope_error
from orjax.theory.slopes import margin_slope_error
from orjax.theory.slopes import nes_slope_deviation
from orjax.theory.slopes import noisy_log_moments

__all__ = [
  "allowed_stddev",
  "asymptotic_training_loss",
  "best_spacing",
  "calibrate",
  "cross_entropy_hessian",
  "exact_misclassification_rate",
  "expanded_log_slope_bias",
  "expected_largest",
  "lemma_1",
  "lemma_2",
  "log_slope_error",
  "margin_slope_error",
  "margins",
  "mills_ratio",
  "mills_ratio_bounds",
  "misclassification_rate",
  "nes_slope_deviation",
  "noisy_log_moments",
  "training_regulariser",
  "union_bound",
]
