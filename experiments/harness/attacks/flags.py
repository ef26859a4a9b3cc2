"""Options of attacks, by name: a spec takes those that are keywords of its `build`."""

from typing import Any

from harness import request
from harness.request import Option
from orjax import factories

_START = ("image", "far")
_NORMS = ("linf", "l2")
_IMPORTANCE = ("refreshed", "frozen", "uniform")
_NON_POSITIVE = ("clamp", "zero", "discard")


def within(name: str) -> dict[str, Any]:
  """The bounds of a number, which are those of the library."""
  return factories.LIMITS[name].bounds()


# Of every attack.
SHARED = (
  Option("targeted", "boolean", False, "attack towards a given class"),
  Option(
    "all_targets", "boolean", False, "targeted: attack all other classes, not one drawn per image"
  ),
  Option(
    "max_queries",
    "integer",
    None,
    "queries per trial, never exceeded; per data set",
    request.HOW_MUCH,
    low=1,
  ),
  Option(
    "num_samples",
    "integer",
    [1],
    "answers that the attacker averages per query",
    request.HOW,
    many=True,
    low=1,
    high=10**6,
  ),
  Option("server_clips", "boolean", False, "the server clips images to [0, 1] before it looks"),
  Option(
    "answers",
    "enum",
    "probabilities",
    "what the server answers: logits are for --objective=margin, without a defense or with "
    "inner_noise; probabilities of float32 are flat where a logit leads by over 69, as most do of "
    "a distilled network",
    choices=("probabilities", "logits"),
  ),
)

# What attackers of probabilities minimise.
OBJECTIVE = (
  Option(
    "objective",
    "enum",
    None,
    "difference of log probabilities, of probabilities, or the "
    "cross-entropy; the difference of logits ratio of log probabilities; the probability of the "
    "true class or the target; one vote an answer; the first, of QL and Bandits on ImageNet the "
    "cross-entropy",
    choices=("log_margin", "margin", "cross_entropy", "log_dlr", "label_probability", "vote"),
  ),
  Option(
    "confidence",
    "float",
    0.0,
    "--objective=margin: the lead at which the loss stays flat; 1 never",
    low=0,
    high=1,
  ),
  Option(
    "success_margin",
    "float",
    0.0,
    "--objective=margin: how far a success must lead, at most --confidence: C&W's kappa where "
    "it is that; by default the top class decides",
    low=0,
    high=1,
  ),
  Option(
    "non_positive",
    "enum",
    "clamp",
    "what the log margin does with a negative noisy "
    "probability: clamp it at 1e-30, take the loss for zero (the official code on a GPU), or "
    "discard the answer",
    choices=_NON_POSITIVE,
  ),
)

# Numbers that several attacks take; their defaults are the attack's, by data set.
_NUMBERS = (
  Option(
    "spacing",
    "float",
    None,
    "ZOO and SPSA: step h of the central differences; Bandits: length of a probe",
    many=True,
    **within("spacing"),
  ),
  Option(
    "num_coordinates",
    "integer",
    None,
    "coordinates per step",
    request.HOW_MUCH,
    **within("num_coordinates"),
  ),
  Option(
    "solver", "enum", None, "how a coordinate moves", choices=("adam", "newton", "adam_newton")
  ),
  Option("tanh_space", "boolean", None, "move in arctanh of the image, not in the image"),
  Option(
    "sizes",
    "integer",
    None,
    "side of a coarse modifier, and of the finer ones that follow it; "
    "0 for a modifier as fine as the image",
    many=True,
    low=0,
    high=4096,
  ),
  Option(
    "resize_at", "integer", None, "steps at which --sizes after the first begin", many=True, low=1
  ),
  Option(
    "importance",
    "enum",
    None,
    "with --sizes: draw coordinates by the size of the modifier, as "
    "of every step, of the last resizing (the official code's behaviour), or not",
    choices=_IMPORTANCE,
  ),
  Option("reset_adam", "boolean", None, "with --sizes: start Adam anew after the first success"),
  Option(
    "num_pairs",
    "integer",
    None,
    "antithetic pairs per step",
    request.HOW_MUCH,
    **within("num_pairs"),
  ),
  Option(
    "population_size",
    "integer",
    None,
    "candidates per step",
    request.HOW_MUCH,
    **within("population_size"),
  ),
  Option(
    "num_frequencies",
    "integer",
    None,
    "lowest frequencies along each side",
    **within("num_frequencies"),
  ),
  Option("smoothing", "float", None, "scale of the search directions", **within("smoothing")),
  Option("learning_rate", "float", None, "of Adam and Newton", **within("learning_rate")),
  Option("trade_off", "float", None, "first trade-off c", **within("trade_off")),
  Option(
    "binary_search_steps",
    "integer",
    None,
    "values of c tried",
    request.HOW_MUCH,
    **within("binary_search_steps"),
  ),
  Option(
    "max_steps",
    "integer",
    None,
    "iterations per value of c; PGD: steps per start",
    request.HOW_MUCH,
    **within("max_steps"),
  ),
  Option(
    "check_every",
    "integer",
    None,
    "iterations between checks for progress; 0 never gives up",
    low=0,
  ),
  Option(
    "check_average", "boolean", None, "check the mean of all losses since the check before, not one"
  ),
  Option(
    "start",
    "enum",
    None,
    "where a descent begins: at the image, or far away at random, from "
    "where it comes back along the boundary",
    choices=_START,
  ),
  Option("norm", "enum", "linf", "of the ball around the image", choices=_NORMS),
  Option(
    "radius", "float", None, "of the ball, in units of [0, 1]", request.HOW_MUCH, **within("radius")
  ),
  Option(
    "window_share",
    "float",
    None,
    "Square: of the image, in the first windows",
    **within("window_share"),
  ),
  Option("step_size", "float", None, "length of a step", **within("step_size")),
  Option("momentum", "float", None, "share of the gradient that is kept", **within("momentum")),
  Option(
    "plateau",
    "integer",
    None,
    "steps without progress after which they are halved; 0 for never",
    low=0,
    high=10**6,
  ),
  Option(
    "reversed_plateau",
    "boolean",
    None,
    "halve the steps after progress, as the official code does when it is untargeted",
  ),
  Option(
    "prior_size", "integer", None, "tiles along each side of the prior; 0 for one a pixel", low=0
  ),
  Option("prior_learning_rate", "float", None, "of the prior", **within("prior_learning_rate")),
  Option(
    "exploration",
    "float",
    None,
    "length of the random part of a probe's direction",
    **within("exploration"),
  ),
  Option("restarts", "integer", None, "random starts", request.HOW_MUCH, **within("num_restarts")),
  Option(
    "confirmations",
    "integer",
    None,
    "fresh answers per step, most of which must agree with a success",
    **within("confirmations"),
  ),
  Option(
    "comparison",
    "enum",
    None,
    "what a search believes of a better loss: one look, kept (cached); a look at both in every "
    "step (asked_again); or as many as a test needs (sequential)",
    choices=("cached", "asked_again", "sequential"),
  ),
  Option(
    "lead",
    "integer",
    None,
    "by how many answers a label must lead before it is believed; 1 believes one",
    **within("lead"),
  ),
  Option(
    "num_proxies",
    "integer",
    None,
    "points around one, whose labels are its loss",
    request.HOW_MUCH,
    **within("num_proxies"),
  ),
  Option("proxy_radius", "float", None, "how far around", **within("proxy_radius")),
  Option(
    "cells", "integer", None, "of a line along which the boundary is searched", **within("cells")
  ),
  Option("num_rows", "integer", None, "looks per step at one image", **within("num_rows")),
  Option(
    "num_iterations",
    "integer",
    None,
    "of the walk along the boundary",
    request.HOW_MUCH,
    **within("num_iterations"),
  ),
  Option(
    "stop_at_success",
    "boolean",
    None,
    "hand in the first success, not the last iterate; never "
    "of transfers, nor where the network is random; RayS: otherwise the nearest that it finds, "
    "in no ball",
  ),
)
BY_NAME = {option.name: option for option in _NUMBERS}
