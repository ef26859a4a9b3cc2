"""Published numbers: those of the papers' code, one attack in the mains and in the library."""

import itertools
import math

import jax
import numpy as np
import pytest

from harness import attacks as specs
import orjax
from orjax import attacks
from orjax import datasets
from orjax import defenses
from orjax import objectives
from orjax import oracles
from orjax import threats
from orjax.attacks import presets

OBJECTIVE = objectives.log_margin()
DATASETS = (*presets.DATASETS, None)


def _in_the_library(name, dataset, norm):
  """The attack that the library makes of published numbers, by the name of the main's."""
  if name == "nes":
    return attacks.carlini_wagner(OBJECTIVE, **presets.nes(dataset))
  if name == "pgd":
    return attacks.whitebox_pgd(OBJECTIVE, **presets.whitebox_pgd(dataset))
  if name in ("rays", "label_only", "partial_information"):  # they come from outside
    numbers = getattr(presets, name)(dataset)
    return attacks.within(getattr(attacks, name)(OBJECTIVE, **numbers), numbers["radius"])
  in_a_ball = name in ("apgd", "bandits", "evolution", "ql", "sign_hunter", "square")
  numbers = getattr(presets, name)(dataset, **({"norm": norm} if in_a_ball else {}))
  return getattr(attacks, name)(OBJECTIVE, **numbers)


@pytest.mark.parametrize(
  "name",
  [
    "apgd",
    "bandits",
    "carlini_wagner",
    "evolution",
    "label_only",
    "nes",
    "partial_information",
    "pgd",
    "pop_skip_jump",
    "ql",
    "rays",
    "sign_hunter",
    "spsa",
    "square",
    "zoo",
  ],
)
def test_the_library_and_the_main_make_one_attack(name):
  if name == "evolution":
    pytest.importorskip("evosax", reason="evosax, of the extra `evolution`, is not installed")
  spec = specs.named()[name]
  for dataset, norm in itertools.product(DATASETS, presets.NORMS):
    numbers = spec.defaults(dataset, norm)
    of_the_main = spec.build(OBJECTIVE, **{k: numbers[k] for k in spec.keywords()})
    assert _in_the_library(name, dataset, norm) == of_the_main, (dataset, norm)


def test_every_attack_with_published_numbers_has_a_preset():
  with_numbers = {
    name
    for name, spec in specs.named().items()
    if any(found.keys() - {"max_queries", "objective"} for found in spec.numbers.values())
  }
  unpublished = {"pgd", "informed_nes", "informed_zoo"}  # the first by its library's name
  assert with_numbers - unpublished <= set(dir(presets))


@pytest.mark.parametrize(
  "found, wanted",
  [
    # NES's attacks.py and main.py for ImageNet.
    (
      presets.ql("imagenet2012"),
      {"num_pairs": 25, "smoothing": 1e-3, "radius": 0.05, "step_size": 0.01, "momentum": 0.9},
    ),
    # The linf.json and l2.json of Bandits' code.
    (
      presets.bandits("imagenet2012"),
      {"prior_learning_rate": 100, "exploration": 1, "spacing": 0.1, "prior_size": 50},
    ),
    (
      presets.bandits("imagenet2012", "l2"),
      {"radius": 5, "step_size": 0.5, "prior_learning_rate": 0.1, "exploration": 0.01},
    ),
    # ZOO's test_all.py.
    (presets.zoo("mnist"), {"num_coordinates": 128, "initial_trade_off": 0.01, "max_steps": 3000}),
    (presets.zoo("cifar10"), {"max_steps": 1000, "tanh_space": True, "coarse": None}),
    (presets.zoo("imagenet2012"), {"max_steps": 1500, "initial_trade_off": 10}),
    # C&W's l2_attack.py, and the challenges of Madry et al.
    (presets.carlini_wagner(), {"initial_trade_off": 1e-3, "max_steps": 10_000}),
    (presets.whitebox_pgd("mnist"), {"radius": 0.3, "step_size": 0.01, "num_steps": 40}),
    (presets.whitebox_pgd("cifar10"), {"radius": 8 / 255, "step_size": 2 / 255, "num_steps": 10}),
    # PopSkipJump's grids.
    (presets.pop_skip_jump("mnist"), {"cells": 100}),
    (presets.pop_skip_jump("cifar10"), {"cells": 300}),
    # SignHunter's configurations divide NES's directions by the root of the entries.
    (presets.ql("mnist", "l2"), {"smoothing": 0.1 / math.sqrt(28 * 28), "radius": 3.0}),
  ],
)
def test_numbers_are_those_of_the_published_code(found, wanted):
  assert {name: found[name] for name in wanted} == wanted


def test_unknown_names_are_refused():
  with pytest.raises(ValueError, match="no published numbers for 'svhn': pass one of digits"):
    presets.zoo("svhn")
  with pytest.raises(ValueError, match="norm must be one of linf, l2, not 'l1'"):
    presets.ql(norm="l1")


def test_bandits_of_the_presets_fool_an_undefended_network(digits_model):
  classifier, variables, _ = digits_model
  test = datasets.load("digits", "test")
  images, labels = datasets.to_float(test.images), test.labels
  right = np.asarray(classifier.apply(variables, images).argmax(-1)) == labels
  images, labels = images[right][:8], labels[right][:8]
  defense = defenses.output_noise()
  predict = lambda v, x: jax.nn.softmax(classifier.apply(v, x))
  found = orjax.evaluate(
    jax.random.key(0),
    attacks.bandits(OBJECTIVE, **presets.bandits("digits")),
    threats.threat_model(lambda v: oracles.from_predict(predict, v), defense),
    variables,
    images,
    labels,
    objective=OBJECTIVE,
    max_queries=900,
    num_draws=1,
    setting=defense.settings(0.0),
  )
  assert np.asarray(found.clean_success).mean() >= 0.75
  assert np.abs(np.asarray(found.adversarial) - images).max() < 0.3 + 1e-6
