"""What the README says of the paper's claims, recomputed from the committed ledgers."""

import functools
import json

import numpy as np
import published_columns
from published_columns import CLEAN
from published_columns import Column
from published_columns import median_of_all
from published_columns import num_fell
from published_columns import of
from published_columns import prose
from published_columns import trials_at

from harness.report import panel


def _fooled(folder, count, **wanted):
  """The share of `count` images that fool the undefended network, with its interval."""
  found = published_columns.group(of(folder, **wanted), Column(CLEAN))
  assert len(found.trials) == count
  return CLEAN(found)


def test_what_is_said_of_zoo():
  untargeted, targeted = "figure2_mnist/untargeted_100", "figure2_mnist/targeted_50"
  said = prose("README.md")
  for strength in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 5.76e-2):
    assert (
      f"It fools {_fooled(untargeted, 100, strength=strength)} of 100 images of MNIST and "
      f"{_fooled(targeted, 50, strength=strength)} of 50 with a target, without noise 1.00 and "
      "1.00;"
    ) in said
  for folder, count in ((untargeted, 100), (targeted, 50)):
    assert _fooled(folder, count, strength=0.0).startswith("1.00 ")
  accuracies = [published_columns.load(untargeted).accuracy[x]["accuracy"] for x in ("0", "0.0001")]
  assert accuracies == [0.9927, 0.9927] and "the accuracy is 0.9927 with and without" in said


def test_what_is_said_of_averaging():
  newton = published_columns.group(
    of("figure3_mnist/newton_50", strength=1.0, num_samples=100), Column(CLEAN)
  )
  adam = _fooled("figure12_mnist/untargeted_50", 50, strength=1e-4, num_samples=100)
  assert len(newton.trials) == 50
  assert (
    f"100 answers a point fool {adam} of 50 images at 1e-4 with Adam; with Newton's solver at "
    f"variance 1 they fool {CLEAN(newton)}, at a mean l2 of {newton.summary['l2']:.1f}:"
  ) in prose("README.md")


def test_what_is_said_of_gradients_through_noise():
  count = lambda each, x: sum(
    r["clean_success"]
    for r in published_columns.group(
      of(f"panel_mnist/apgd/{each}", strength=x), Column(CLEAN)
    ).trials
  )
  losses = ("xent", "dlr", "dlr_targeted")
  for each in (*losses, "same_draws"):
    assert all(count(each, x) == 100 for x in (0.0, 1e-6, 1e-4))
  assert count("same_draws", 1e-2) == count("same_draws", 5.76e-2) == 100
  xent, dlr, targeted = ([count(each, x) for x in (1e-2, 5.76e-2)] for each in losses)
  assert (
    "takes all 100 at every variance with ten common draws and a vote, and "
    f"{targeted[1]} to {max(xent[1], dlr[1])} at 5.76e-2 as published."
  ) in prose("README.md")
  assert (
    f"{xent[0]} and {xent[1]} by the cross-entropy, {dlr[0]} and {dlr[1]} by DLR and {targeted[0]} "
    f"and {targeted[1]} by targeted DLR"
  ) in prose("panel_mnist")
  asked = published_columns.group(of("panel_mnist/apgd/same_draws"), Column(CLEAN)).trials
  (spent,) = {r["num_queries"] for r in asked}
  assert f"({spent:,} queries an image)" in prose("panel_mnist")


def test_what_is_said_of_an_informed_zoo_that_is_on_its_way():
  strengths = (0.0, 1e-6, 1e-4, 1e-2, 5.76e-2)
  load = published_columns.load("panel_mnist/zoo/informed")
  reached = panel.reached(load, panel.Radius("l2", 3.0))
  near = [round(100 * reached[x].rate) for x in strengths]
  quiet, noisy = (f"{reached[x].distance:.2f}" for x in (0.0, 1e-4))
  assert near[0] == near[1]
  assert (
    f"{near[0]} within l2 3.0 without noise and at 1e-6, {near[2]}, {near[3]} and {near[4]} at "
    f"1e-4, 1e-2 and 5.76e-2, at a median distance of {quiet} without noise and {noisy} at 1e-4."
  ) in prose("panel_mnist")


def test_what_is_said_of_a_zoo_that_measures_the_noise():
  load = lambda each, x: {
    r["index"]: r["l2"]
    for r in published_columns.group(of(f"headline_mnist/{each}", strength=x), Column(CLEAN)).trials
    if r["clean_success"]
  }
  measured, recipe = (
    [load(each, x) for x in (0.0, 1e-4)] for each in ("measured_zoo", "informed_zoo")
  )
  assert all(len(found) == 20 for found in (*measured, *recipe))
  mean = lambda found: f"{np.mean(list(found.values())):.2f}"
  times = lambda one, other: f"{np.median([one[i] / other[i] for i in one]):.2f}"
  (quiet, noisy), by_hand = measured, recipe
  assert (
    f"at a mean l2 of {mean(quiet)} and {mean(noisy)}, where the recipe ends at "
    f"{mean(by_hand[0])} and {mean(by_hand[1])} ({times(quiet, by_hand[0])} and "
    f"{times(noisy, by_hand[1])} times as far"
  ) in prose("headline_mnist")
  assert f"more than NES, {times(noisy, quiet)} times the distance" in prose("headline_mnist")


def test_what_is_said_of_a_decision_attack_in_much_noise():
  at = functools.partial(trials_at, "panel_mnist/decision/pop_skip_jump")
  far = lambda x: median_of_all(at(x), "l2")
  assert (
    f"there it still brings {num_fell(at(5.76e-2))} over the boundary, but "
    f"as each label tells less, 10,000 of them end at a median distance of {far(5.76e-2):.2f}, "
    f"where without noise they end at {far(0.0):.2f}."
  ) in prose("panel_mnist")


def test_what_is_said_of_nes_on_little_information():
  load = published_columns.load("panel_mnist/labels/partial_information")
  reached = panel.reached(load, None)
  fell = [round(100 * reached[x].rate) for x in (0.0, 1e-6, 1e-4, 1e-2, 5.76e-2)]
  claims = [round(100 * reached[x].claimed) for x in (1e-6, 1e-4, 1e-2, 5.76e-2)]
  assert (
    f"takes {fell[0]} without noise and {fell[1]}, {fell[2]}, {fell[3]} and {fell[4]} at the four "
    f"variances, where it claims {claims[0]}, {claims[1]}, {claims[2]} and {claims[3]}."
  ) in prose("panel_mnist")


def test_what_is_said_of_label_only_nes_on_its_way():
  load = published_columns.load("panel_mnist/labels/label_only")
  reached = panel.reached(load, None)
  fell = {
    frozenset(
      r["index"] for r in trials_at("panel_mnist/labels/label_only", x) if r["clean_success"]
    )
    for x in reached
  }
  assert len(reached) == 5 and len(fell) == 1 and not any(x.claimed for x in reached.values())
  assert {(r["num_steps"], r["num_queries"]) for r in load.records} == {(100, 10_000)}
  assert f"for the same {len(*fell)} images at all five" in prose("panel_mnist")
  assert "asks 100 queries a step, and after 100 steps is" in prose("panel_mnist")


def test_what_is_said_of_the_law_of_probe_lengths():
  read = lambda path: json.loads((published_columns.RESULTS / path).read_text())["rows"]
  panels = {(r["attack"], r["strength"]): r for r in read("panel_mnist/query_law.json")}
  way = read("controls_mnist/ql/on_the_way/query_law.json")
  image = [panels["ql, long", r["strength"]] for r in way]
  many = lambda rows, name: [f"{float(f'{r[name][1]:.3g}'):,.0f}" for r in rows]
  times = lambda rows: [f"{r['predicted'][1] / r['used'][1]:.2g}" for r in rows]
  listed = lambda values: f"{', '.join(map(str, values[:-1]))} and {values[-1]}"
  trials = [trials_at("controls_mnist/ql/long", r["strength"]) for r in way]
  fell = [num_fell(members) for members in trials]
  assert max(r["num_queries"] for members in trials for r in members if r["clean_success"]) == 4386
  said = prose("controls_mnist")
  for sentence in (
    f"takes {listed(fell)} of 20 images at variances",
    f"the law wants {listed(many(image[:3], 'predicted'))} queries at the first three, in the "
    f"median, where {listed(many(image[:3], 'used'))} were used: {listed(times(image[:3]))} times",
    f"it wants {listed(many(way[:3], 'predicted'))}: {times(way[:1])[0]}, 1.0 and "
    f"{times(way[2:3])[0]} times what was used; and {listed(many(way[3:], 'predicted'))} at the",
  ):
    assert sentence in said, sentence
  assert f"{way[1]['predicted'][1] / way[1]['used'][1]:.1f}" == "1.0"
  asked = lambda *at: many([panels[at]], "predicted")[0]
  used = lambda *at: many([panels[at]], "used")[0]
  assert all(r["predicted"][1] is None for at, r in panels.items() if "wide" in at[0])
  for sentence in (
    f"for {asked('ql, plain', 0.0)} queries of QL, which used "
    f"{used('ql, plain', 0.0)}, and for {asked('spsa, published', 0.0)} of SPSA, which used "
    f"{used('spsa, published', 0.0)}:",
    f"fell by them in {used('ql, wide', 0.0)} and {used('spsa, wide', 0.0)}, so that",
    f"At 1e-4 it asks for {asked('ql, plain', 1e-4)} and {asked('spsa, published', 1e-4)} of",
  ):
    assert sentence in prose("panel_mnist"), sentence


def test_what_is_said_of_whose_numbers_ql_has():
  fell = lambda folder, x: num_fell(trials_at(folder, x))
  theirs, ours = (
    [fell(each, x) for x in (0.0, 1e-4)]
    for each in ("controls_mnist/ql/published", "panel_mnist/ql/plain")
  )
  assert ours[0] == 100
  assert (
    f"take {theirs[0]} of 100 images without noise, where ours take all, and {theirs[1]} at "
    f"variance 1e-4, where ours take {ours[1]}."
  ) in prose("controls_mnist")
  assert f"take {theirs[0]} images without noise (and {theirs[1]} at 1e-4:" in prose("panel_mnist")
  assert (
    f"the published ones take 0.{theirs[0]} without noise and 0.{theirs[1]} at 1e-4"
  ) in prose("README.md")


def test_what_is_said_of_rays_with_votes():
  strengths = (1e-6, 1e-4, 1e-2, 5.76e-2)
  at = {x: trials_at("panel_mnist/rays/votes", x) for x in (0.0, *strengths)}
  fell = [num_fell(at[x]) for x in strengths]
  claimed = sum(r["claimed"] for r in at[5.76e-2])
  costs = [f"{median_of_all(at[x], 'num_queries'):,.0f}" for x in (0.0, 1e-6, 1e-2)]
  assert all(0.295 < r["linf"] <= 0.3 + 1e-6 for x in strengths for r in at[x] if r["claimed"])
  for sentence in (
    f"it takes {fell[0]}, {fell[1]} and {fell[2]} at 1e-6, 1e-4 and 1e-2, and {fell[3]} at "
    f"5.76e-2, where it claims {claimed}:",
    f"(medians {costs[0]}, then {costs[1]} at 1e-6 and {costs[2]} at 1e-2)",
  ):
    assert sentence in prose("panel_mnist"), sentence


def test_what_is_said_of_other_attacks():
  fooled = lambda each, strength: _fooled(f"panel_mnist/{each}", 100, strength=strength)
  ql, bandits = "ql/plain", "bandits/published"
  assert (
    f"{fooled(ql, 1e-4)} and {fooled(bandits, 1e-4)} of 100 images of MNIST at 1e-4, "
    f"{fooled(ql, 1e-2)} and {fooled(bandits, 1e-2)} at 1e-2 (without noise {fooled(ql, 0.0)[:4]} "
    f"and {fooled(bandits, 0.0)[:4]}); with long probes Bandits fools "
    f"{fooled('bandits/wide', 1e-4)} at"
  ) in prose("README.md")
  white = lambda strength: _fooled("figure5_mnist/untargeted_100", 100, strength=strength)
  assert (
    f"fools {white(1e-4)} of 100 images at 1e-4 and {white(1e-2)} at 1e-2 (without noise "
    f"{white(0.0)[:4]})"
  ) in prose("README.md")
  afar = _fooled("informed_mnist/carlini_wagner", 20, strength=1e-4)
  assert afar.startswith("1.00 ") and "A linear margin from afar has 20 of 20." in prose(
    "README.md"
  )
