"""Defenses: what a server makes of a classifier's answers."""

from orjax.defenses.bending import aaa_linear
from orjax.defenses.bending import aaa_sine
from orjax.defenses.bending import reverse_sigmoid
from orjax.defenses.bending import with_aaa_linear
from orjax.defenses.bending import with_aaa_sine
from orjax.defenses.bending import with_reverse_sigmoid
from orjax.defenses.calibrated import calibrated_noise
from orjax.defenses.calibrated import class_noise
from orjax.defenses.calibrated import with_calibrated_noise
from orjax.defenses.calibrated import with_class_noise
from orjax.defenses.gates import boundary_noise
from orjax.defenses.gates import confidence_gate
from orjax.defenses.gates import with_boundary_noise
from orjax.defenses.gates import with_confidence_gate
from orjax.defenses.inputs import input_noise
from orjax.defenses.inputs import resize_pad
from orjax.defenses.inputs import uint8_input
from orjax.defenses.inputs import with_input_noise
from orjax.defenses.inputs import with_resize_pad
from orjax.defenses.inputs import with_uint8
from orjax.defenses.logits import logit_noise
from orjax.defenses.logits import with_logit_noise
from orjax.defenses.noise import inner_noise
from orjax.defenses.noise import no_defense
from orjax.defenses.noise import output_noise
from orjax.defenses.noise import with_output_noise
from orjax.defenses.repeats import cached
from orjax.defenses.repeats import with_cached_repeats
from orjax.defenses.rounding import label_only
from orjax.defenses.rounding import rounded
from orjax.defenses.rounding import sampled_label
from orjax.defenses.rounding import top_k
from orjax.defenses.rounding import with_label
from orjax.defenses.rounding import with_rounding
from orjax.defenses.rounding import with_sampled_label
from orjax.defenses.rounding import with_top_k
from orjax.defenses.scaling import normal_scaling
from orjax.defenses.scaling import random_scaling
from orjax.defenses.scaling import with_normal_scaling
from orjax.defenses.scaling import with_random_scaling
from orjax.defenses.voting import majority_vote
from orjax.defenses.voting import mean_answer
from orjax.defenses.voting import with_mean
from orjax.defenses.voting import with_vote

__all__ = [
  "aaa_linear",
  "aaa_sine",
  "boundary_noise",
  "cached",
  "calibrated_noise",
  "class_noise",
  "confidence_gate",
  "inner_noise",
  "input_noise",
  "label_only",
  "logit_noise",
  "majority_vote",
  "mean_answer",
  "no_defense",
  "normal_scaling",
  "output_noise",
  "random_scaling",
  "resize_pad",
  "reverse_sigmoid",
  "rounded",
  "sampled_label",
  "top_k",
  "uint8_input",
  "with_aaa_linear",
  "with_aaa_sine",
  "with_boundary_noise",
  "with_cached_repeats",
  "with_calibrated_noise",
  "with_class_noise",
  "with_confidence_gate",
  "with_input_noise",
  "with_label",
  "with_logit_noise",
  "with_mean",
  "with_normal_scaling",
  "with_output_noise",
  "with_random_scaling",
  "with_resize_pad",
  "with_reverse_sigmoid",
  "with_rounding",
  "with_sampled_label",
  "with_top_k",
  "with_uint8",
  "with_vote",
]
