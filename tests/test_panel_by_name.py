"""Attacks of the panel in the mains: what is built of the flags, and what is refused."""

import math

import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from conftest import linear_logits
from conftest import linear_variables
from harness import attacks as specs
from harness import cells
from harness import recipes
from harness.attacks.spec import Victim
from harness.classifiers.model import from_jax
from orjax import attacks
from orjax import defenses
from orjax import engine
from orjax import objectives
from orjax import oracles
from orjax import records
from orjax.types import LOG_FLOOR


def _planned(main, *flags):
  """Settings and attacks of a command."""
  asked = mains.asked(main, *flags).attack
  nobody = Victim(None, False, lambda: False, lambda recipe: "")
  return [(found.setting, found.attack) for found in specs.plan(asked, nobody)]


def test_auto_pgd_of_the_flags_is_the_library_s():
  flags = ("--attack=apgd", "--dataset=mnist", "--max_steps=7", "--restarts=2")
  found = _planned("whitebox_attacks", *flags, "--apgd_loss=xent", "--apgd_loss=dlr_targeted")
  wanted = objectives.logit_cross_entropy()
  assert found == [
    ({"apgd_loss": "xent"}, attacks.apgd(wanted, radius=0.3, num_steps=7, num_restarts=2)),
    ({"apgd_loss": "dlr_targeted"}, attacks.apgd_targeted(radius=0.3, num_steps=7)),
  ]
  found = _planned("whitebox_attacks", *flags, "--apgd_loss=cw_unbounded", "--targeted")
  towards = objectives.margin(targeted=True, confidence=math.inf)
  assert found[0][1] == attacks.apgd(towards, radius=0.3, num_steps=7, num_restarts=2)
  flags = ("--attack=apgd", "--norm=l2", "--draws=same_draws", "--draws_per_point=20", "--lead=4")
  found = _planned("whitebox_attacks", *flags, "--apgd_loss=cw_unbounded")
  fair = {"num_draws": 20, "comparison": "same_draws", "lead": 4}
  wanted = objectives.margin(confidence=math.inf)
  assert found == [
    ({"apgd_loss": "cw_unbounded"}, attacks.apgd(wanted, radius=1.5, norm="l2", **fair))
  ]


def test_square_begins_on_networks_of_the_attacker_s():
  """The clean one and the mimic make one start; each trial asks as Square does."""
  asked = mains.asked(
    "blackbox_attacks", "--attack=square", "--transfer_from=mimic", "--transfer_from=clean"
  )
  victim = Victim(asked.classifier.recipe, False, lambda: False, lambda recipe: "")
  [found] = specs.plan(asked.attack, victim)
  assert found.setting == {"transfer_from": "clean+mimic"}
  assert found.others == (recipes.substitute(asked.classifier.recipe, 0), recipes.DISTILLED)
  assert found.attack == attacks.square(objectives.log_margin(), radius=0.3, window_share=0.3)
  networks = [lambda images: images.reshape(len(images), -1)[:, :10]] * 2
  assert found.begun
  assert found.begun(*networks) == attacks.square(
    objectives.log_margin(),
    radius=0.3,
    window_share=0.3,
    start=attacks.transferred(objectives.margin(confidence=math.inf), *networks, radius=0.3),
  )


@pytest.mark.parametrize(
  "name", ["margin", "cross_entropy", "log_dlr", "label_probability", "vote"]
)
def test_a_statistic_is_chosen_by_keyword(name):
  [(_, found)] = _planned("blackbox_attacks", "--attack=square", f"--objective={name}")
  wanted = getattr(objectives, name)()
  assert found == attacks.square(wanted, radius=0.3, window_share=0.3)


def test_rays_goes_on_to_the_nearest_boundary_in_no_ball():
  wanted = objectives.log_margin()
  asked = ("blackbox_attacks", "--dataset=mnist", "--attack=rays", "--lead=4")
  [(_, found)] = _planned(*asked)
  assert found == attacks.within(attacks.rays(wanted, radius=0.3, lead=4), 0.3)
  [(_, found)] = _planned(*asked, "--nostop_at_success")
  assert found == attacks.rays(wanted, radius=None, lead=4)
  assert mains.asked(*asked, "--nostop_at_success").attack.numbers["radius"] is None
  assert mains.asked(*asked, "--trace=1").trace == 1


def test_nes_on_little_information_comes_back_into_the_ball():
  asked = ("blackbox_attacks", "--dataset=mnist", "--lead=3")
  [(setting, found)] = _planned(*asked, "--attack=label_only", "--num_proxies=5")
  wanted = objectives.log_margin()
  attack = attacks.label_only(wanted, radius=0.3, num_proxies=5, lead=3)
  assert (setting, found) == ({}, attacks.within(attack, 0.3))
  [(_, found)] = _planned(*asked, "--attack=partial_information")
  attack = attacks.partial_information(objectives.cross_entropy(), radius=0.3, lead=3)
  assert found == attacks.within(attack, 0.3)


@pytest.mark.parametrize("flags, cells", [([], 100), (["--cells=50"], 50)])
def test_a_line_is_searched_in_the_published_number_of_cells(flags, cells):
  asked = ("blackbox_attacks", "--attack=pop_skip_jump", *flags)
  attack = lambda num_cells: attacks.pop_skip_jump(objectives.log_margin(), cells=num_cells)
  assert _planned(*asked, "--dataset=mnist") == [({}, attack(cells))]
  on_cifar10 = _planned(*asked, "--dataset=cifar10")
  assert on_cifar10 == [({}, attack(cells if flags else 300))]


@pytest.mark.parametrize(
  "main, attack, flags, message",
  [
    (
      "blackbox_attacks",
      attack,
      ["--targeted"],
      "--targeted is not for an attack that comes from far away",
    )
    for attack in ("label_only", "partial_information", "hop_skip_jump", "pop_skip_jump")
  ]
  + [
    (
      "blackbox_attacks",
      "partial_information",
      ["--objective=log_margin"],
      "partial_information needs --objective=cross_entropy",
    )
  ]
  + [
    ("blackbox_attacks", "square", flags, message)
    for flags, message in (
      (
        ["--transfer_from=mimic", "--defense=rounded"],
        "--transfer_from=mimic is taught the undefended answers",
      ),
      (["--transfer_from=clean"], "--transfer_from=clean is for networks that orjax trains"),
      (["--transfer_from=mimic", "--transfer_from=mimic"], "--transfer_from names a value twice"),
      (["--transfer_from=mimic", "--norm=l2"], "--transfer_from moves in an l_inf ball"),
      (["--objective=log_dlr", "--targeted"], "--objective=log_dlr is untargeted"),
      (["--objective=vote", "--confidence=0.1"], "--confidence needs --objective=margin"),
    )
  ]
  + [
    (
      "blackbox_attacks",
      "rays",
      ["--nostop_at_success", "--radius=0.1"],
      "--radius is where RayS stops",
    )
  ]
  + [
    ("whitebox_attacks", "apgd", flags, message)
    for flags, message in (
      (["--targeted"], "--apgd_loss=dlr is untargeted"),
      (["--num_targets=3"], "--num_targets needs --apgd_loss=dlr_targeted"),
      (["--apgd_loss=dlr_targeted", "--restarts=2"], "starts once for each target"),
      (["--lead=2"], "--lead needs --draws=same_draws"),
      (["--apgd_loss=dlr", "--apgd_loss=dlr"], "--apgd_loss names a value twice"),
      (["--objective=margin"], "--objective is not for --attack=apgd"),
      (["--comparison=cached"], "Unknown command line flag 'comparison'"),
    )
  ],
)
def test_what_does_not_go_together_is_one_sentence(main, attack, flags, message):
  with pytest.raises(ValueError) as found:
    _planned(main, f"--attack={attack}", *flags)
  assert message in str(found.value) and "\n" not in str(found.value)


def test_auto_pgd_attacks_through_the_main(digits_model, tmp_path):
  """In a large ball every image falls."""
  mains.run(
    "whitebox_attacks",
    "--attack=apgd",
    "--apgd_loss=dlr",
    f"--model_dir={digits_model[2].parent}",
    f"--out={tmp_path}",
    "--num_images=4",
    "--max_steps=20",
    "--radius=0.3",
    "--num_test_images=60",
    "--num_pictures=0",
  )
  found = records.read(str(tmp_path))
  assert len(found) == 4 and all(r["clean_success"] for r in found)
  assert all(r["linf"] <= 0.3 + 1e-6 and r["setting"] == {"apgd_loss": "dlr"} for r in found)


def test_auto_pgd_reads_logarithms_of_averages_and_verdicts_read_probabilities():
  asked = mains.asked("whitebox_attacks", "--attack=apgd", "--variance=1", "--num_samples=2")
  assert asked.defense.value == "output_noise" and not asked.attack.sees_logits
  assert mains.asked("whitebox_attacks", "--attack=apgd").attack.sees_logits
  model = from_jax(linear_logits, linear_variables(), (4, 4, 1), 3, "linear")
  one = np.zeros(1, int)
  common = cells.Attacked(
    *("mine", model, np.full((1, 4, 4, 1), 0.5, np.float32), one, one),
    *(defenses.output_noise(), [1.0], asked.attack, 1, 0, None),
  )
  [variant, *_] = specs.plan(asked.attack, Victim(None, False, lambda: False, lambda recipe: ""))
  cell = cells.cell(common, variant, {})
  key, images = jax.random.key(0), jnp.full((5, 4, 4, 1), 0.5)
  setting = engine.inputs(cell.tasks[0]).setting
  logs, served = (
    each(cell.variables, setting) for each in (cell.threats.asked, cell.threats.defended)
  )
  mean = oracles.averaged(served, 2).query(key, images)
  assert (mean < 0).any() and logs.queries_per_row == 2
  np.testing.assert_array_equal(logs.query(key, images), jnp.log(jnp.maximum(mean, 0) + LOG_FLOOR))
  clean = cell.threats.clean(cell.variables).query(key, images)
  np.testing.assert_allclose(clean.sum(-1), 1, rtol=1e-6)
  np.testing.assert_allclose(
    cell.quiet(cell.variables).query(key, images), jnp.log(clean), rtol=1e-5
  )


def test_auto_pgd_goes_through_noise_on_the_answers(digits_model, tmp_path):
  """Added noise has no slope, and the logarithm of what is left of a probability has one."""
  mains.run(
    *("whitebox_attacks", "--attack=apgd", "--variance=0", "--variance=1e-2", "--trace=1"),
    *("--apgd_loss=dlr", "--draws=same_draws", "--draws_per_point=8", "--lead=4"),
    *(f"--model_dir={digits_model[2].parent}", f"--out={tmp_path}"),
    *("--num_images=4", "--max_steps=20", "--radius=0.3"),
    *("--num_test_images=60", "--num_pictures=0"),
  )
  found = records.read(str(tmp_path))
  assert len(found) == 8 and all(r["clean_success"] and r["claimed"] for r in found)
  assert {(r["defense"], r["strength"]) for r in found} == {
    ("output_noise", 0.0),
    ("output_noise", 0.01),
  }
  assert all(r["num_queries"] % 24 == 0 for r in found)
  for trace in records.read_traces(str(tmp_path))[1]:
    assert (trace["losses"] != trace["without_noise"]) == (trace["strength"] > 0)


def test_a_transfer_through_the_main_is_there_at_the_first_look(digits_model, tmp_path):
  counts = {}
  for name, flags in (("alone", []), ("transferred", ["--transfer_from=mimic"])):
    mains.run(
      "blackbox_attacks",
      "--attack=square",
      *flags,
      f"--model_dir={digits_model[2].parent}",
      f"--out={tmp_path / name}",
      "--variance=0",
      "--num_images=10",
      "--max_queries=200",
      "--num_test_images=60",
      "--num_pictures=0",
    )
    found = records.read(str(tmp_path / name))
    assert all(r["linf"] <= 0.3 + 1e-6 for r in found)
    counts[name] = sum(r["claimed"] and r["num_queries"] == 1 for r in found)
  assert {str(r["setting"]) for r in found} == {"{'transfer_from': 'mimic'}"}
  assert counts["transferred"] >= 8 and counts["alone"] <= 4
  manifest = records.read_manifest(tmp_path / "transferred")["request"]
  assert manifest["transfer_from"] == ["mimic"] and manifest["substitutes"].keys() == {"distilled"}
