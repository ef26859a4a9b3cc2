"""Closed forms of the paper's sections 5, 6 and 9.3, corrected and as printed, and of probes.

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
from orjax.theory.probes import bits_of_answers
from orjax.theory.probes import bits_per_query
from orjax.theory.probes import break_even_smoothing
from orjax.theory.probes import fixed_pairs
from orjax.theory.probes import floor_queries
from orjax.theory.probes import label_attenuation
from orjax.theory.probes import label_cosine
from orjax.theory.probes import label_information
from orjax.theory.probes import least_squared_error
from orjax.theory.probes import least_wrong_signs
from orjax.theory.probes import majority_error
from orjax.theory.probes import margin_from_flips
from orjax.theory.probes import nes_cosine
from orjax.theory.probes import nes_queries
from orjax.theory.probes import nes_wrong_signs
from orjax.theory.probes import noise_to_signal
from orjax.theory.probes import resubmission_rate
from orjax.theory.probes import rounding_stddev
from orjax.theory.probes import sequential_limit
from orjax.theory.probes import sequential_pairs
from orjax.theory.probes import two_point_queries
from orjax.theory.probes import vote_error
from orjax.theory.probes import vote_lead
from orjax.theory.probes import vote_looks
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
  "bits_of_answers",
  "bits_per_query",
  "break_even_smoothing",
  "calibrate",
  "cross_entropy_hessian",
  "exact_misclassification_rate",
  "expanded_log_slope_bias",
  "expected_largest",
  "fixed_pairs",
  "floor_queries",
  "label_attenuation",
  "label_cosine",
  "label_information",
  "least_squared_error",
  "least_wrong_signs",
  "lemma_1",
  "lemma_2",
  "log_slope_error",
  "majority_error",
  "margin_from_flips",
  "margin_slope_error",
  "margins",
  "mills_ratio",
  "mills_ratio_bounds",
  "misclassification_rate",
  "nes_cosine",
  "nes_queries",
  "nes_slope_deviation",
  "nes_wrong_signs",
  "noise_to_signal",
  "noisy_log_moments",
  "resubmission_rate",
  "rounding_stddev",
  "sequential_limit",
  "sequential_pairs",
  "training_regulariser",
  "two_point_queries",
  "union_bound",
  "vote_error",
  "vote_lead",
  "vote_looks",
]
