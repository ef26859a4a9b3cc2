"""Every number in a sentence of a README is recomputed from the committed ledgers."""

import numpy as np
import published_columns
from published_columns import median_of_all
from published_columns import near
from published_columns import prose
from published_columns import trials_at

from orjax import records


def test_the_headline_is_what_the_ledgers_say():
  nes = {x: trials_at("headline_mnist/informed_nes", x) for x in (0.0, 1e-4, 1e-2, 5.76e-2)}
  quiet = {r["index"]: r for r in nes[0.0]}
  ratios = {x: [r["l2"] / quiet[r["index"]]["l2"] for r in found] for x, found in nes.items()}
  middle, low, high = ({x: f(found) for x, found in ratios.items()} for f in (np.median, min, max))
  assert {r["num_queries"] for found in nes.values() for r in found} == {308_400}
  accuracies = [
    found["accuracy"]
    for found in published_columns.load("headline_mnist/informed_nes").accuracy.values()
  ]
  zoo = trials_at("headline_mnist/zoo", 0.0)
  said = prose("README.md")
  for sentence in (
    f"informed NES ends at {middle[1e-4]:.3f} times the distance",
    f"({low[1e-4]:.3f} to {high[1e-4]:.3f}), at 1e-2 at {middle[1e-2]:.3f} (median; "
    f"{low[1e-2]:.2f} to {high[1e-2]:.2f}), at 5.76e-2 at {middle[5.76e-2]:.3f} (20 images; "
    f"{low[5.76e-2]:.2f} to {high[5.76e-2]:.2f})",
    "{:.4f}, {:.4f}, {:.4f} and {:.4f} of the test images".format(*accuracies),
    f"a share of {np.mean([r['defended_success_rate'] for r in nes[5.76e-2]]):.2f} are wrong",
    f"informed NES has {near(nes[0.0], 2.0, 2.5, 3.0)} of the images without noise and "
    f"{near(nes[1e-4], 2.0, 2.5, 3.0)} at 1e-4, undefended ZOO {near(zoo, 2.0, 2.5, 3.0)}.",
  ):
    assert sentence in said, sentence
  informed_zoo = {x: trials_at("headline_mnist/informed_zoo", x) for x in (0.0, 1e-4)}
  folder = prose("headline_mnist")
  noisy, plain = ([near(found[x], 1.5) for found in (informed_zoo, nes)] for x in (1e-4, 0.0))
  assert (
    f"take {noisy[0]} (ZOO) and {noisy[1]} (NES) of 20 images at 1e-4, and {plain[0]} and "
    f"{plain[1]} without noise; ZOO with a c that suits it, without noise, {near(zoo, 1.5)}."
  ) in folder


def test_informed_attacks_are_compared_with_undefended_zoo():
  undefended = {r["index"]: r for r in trials_at("figure2_mnist/untargeted", 0.0)}
  informed = {x: trials_at(f"informed_mnist/{x}", 1e-4) for x in ("zoo", "nes")}
  ratios = {
    x: [r["l2"] / undefended[r["index"]]["l2"] for r in trials] for x, trials in informed.items()
  }
  zoo, nes = ([f"{f(ratios[x]):.2f}" for f in (np.median, np.mean, max)] for x in ("zoo", "nes"))
  (queries,) = {r["num_queries"] for trials in informed.values() for r in trials}
  needed = np.mean([r["num_queries"] for r in undefended.values()])
  folder = prose("informed_mnist")
  assert f"{zoo[0]} (ZOO) and {nes[0]} (NES) times undefended ZOO's in the median" in folder
  assert f"(mean {zoo[1]} and {nes[1]}, at most {zoo[2]} and {nes[2]})" in folder
  assert f"({needed:,.0f} queries in the mean)" in folder and f"({queries:,})" in folder


def test_lucky_answers_of_table_1_are_counted():
  lucky = {
    attack: [
      sum(
        r["claimed"] and not r["clean_success"] for r in trials_at(f"table1_imagenet/{attack}", x)
      )
      for x in (1e-4, 1e-2, 5.76e-2)
    ]
    for attack in ("ql", "bandits")
  }
  ql, bandits = (lucky[x] for x in ("ql", "bandits"))
  assert (
    f"a lucky answer ended {ql[0]}, {ql[1]} and {ql[2]} at 1e-4, 1e-2 and 5.76e-2, of "
    f"Bandits' {bandits[0]}, {bandits[1]} and {bandits[2]}" in prose("table1_imagenet")
  )
  failed = [r for r in trials_at("table1_imagenet/bandits", 1e-2) if not r["clean_success"]]
  assert f"{bandits[1]} of Bandits' {len(failed)} failures at 1e-2" in prose("README.md")


def test_what_is_said_of_an_attacker_who_measures_the_noise():
  """Beside the recipe that was set by hand, and beside itself without noise."""
  ends, by_hand, nearer, farther = [], [], [], []
  quiet = {}
  for strength, name in ((0.0, "0"), (1e-4, "1e-4"), (1e-2, "1e-2"), (5.76e-2, "5.76e-2")):
    measured = trials_at(f"headline_mnist/measured_{name}", strength)
    recipe = {r["index"]: r["l2"] for r in trials_at("headline_mnist/informed_nes", strength)}
    assert {r["index"] for r in measured} == set(recipe)
    assert all(r["clean_success"] and r["num_queries"] == 309_942 for r in measured)
    quiet = quiet or {r["index"]: r["l2"] for r in measured}
    ends.append(f"{np.mean([r['l2'] for r in measured]):.2f}")
    by_hand.append(f"{np.mean(list(recipe.values())):.2f}")
    nearer.append(f"{np.median([r['l2'] / recipe[r['index']] for r in measured]):.2f}")
    farther.append(f"{np.median([r['l2'] / quiet[r['index']] for r in measured]):.3f}")
  listed = lambda values: f"{', '.join(values[:-1])} and {values[-1]}"
  said = prose("headline_mnist")
  for sentence in (
    f"takes 20 of 20 images at each of the four variances, at a mean l2 of {listed(ends)}, where "
    f"the recipe ends at {listed(by_hand)} (image by image {listed(nearer)} times as far in the "
    "median)",
    f"{farther[1]} times as far in the median at 1e-4, {farther[2]} at 1e-2 and {farther[3]} at",
  ):
    assert sentence in said, sentence
  assert f"at each of these variances, at a mean l2 of {listed(ends)};" in prose("README.md")


def test_what_is_said_of_one_weight_of_the_loss_and_three():
  load = lambda name: {r["index"]: r for r in trials_at(f"headline_mnist/{name}", 1e-4)}
  three, one, recipe = map(load, ("measured_three_weights", "measured_1e-4", "informed_nes"))
  assert len(three) == 20 and {r["num_queries"] for r in (*three.values(), *one.values())} == {
    309_942
  }
  times = lambda x, y: f"{np.median([x[i]['l2'] / y[i]['l2'] for i in three]):.2f}"
  assert (
    f"takes {sum(r['clean_success'] for r in three.values())} of 20 at a mean l2 of "
    f"{np.mean([r['l2'] for r in three.values()]):.2f}, {times(three, recipe)} times as far as the "
    f"recipe in the median, and a little nearer than on one weight, which ends {times(one, three)} "
    "times as far."
  ) in prose("headline_mnist")


_RANGE = (0, 0.5, 1)  # of the factors of random scaling: its powers


def test_what_is_said_of_the_controls():
  """White boxes beside each other, RayS beside Square, and what passes random scaling."""
  read = lambda each: records.read(published_columns.RESULTS / "controls_mnist" / each)
  fell = lambda rows, name, loss: sum(
    r["clean_success"] for r in rows if r["setting"][name] == loss
  )
  together = lambda rows: len({r["index"] for r in rows if r["clean_success"]})
  apgd, pgd = read("whitebox/apgd"), read("whitebox/pgd")
  plain, by_margin, dlr, targeted = (
    fell(apgd, "apgd_loss", x) for x in ("xent", "xent_by_margin", "dlr", "dlr_targeted")
  )
  xent, cw = (fell(pgd, "loss", x) for x in ("xent", "cw"))
  rays = median_of_all(read("distance/rays"), "linf")
  nearer, farther = (
    sum(r["clean_success"] for r in read(f"distance/square_{x}")) for x in ("0.14", "0.155")
  )
  square = 0.14 + 0.015 * (50 - nearer) / (farther - nearer)
  scaled, by_ratio = (
    [sum(r["clean_success"] for r in read(f"scaling/{each}") if r["strength"] == x) for x in _RANGE]
    for each in ("ql", "ql_dlr")
  )
  through = near(read("scaling/informed"), 3)
  without = near(trials_at("panel_mnist/nes/informed", 0), 3)
  by_pilot = sum(r["chosen"]["dlr"] for r in read("scaling/informed"))
  said = prose("controls_mnist")
  for sentence in (
    f"APGD takes {plain} with the cross-entropy, {by_margin} with it over the margin, {dlr} with "
    f"DLR and {targeted} with targeted DLR, {together(apgd)} together; PGD with 10 restarts of 40 "
    f"steps {xent} with the cross-entropy and {cw} with C&W's loss, {together(pgd)} together.",
    f"ends at an l_inf distance of {rays:.3f} in the median",
    f"takes {nearer} of 100 within 0.14 and {farther} within 0.155: its own median radius is "
    f"{square:.3f} on the line between those, and RayS ends {100 * (rays / square - 1):.0f} %",
    f"{scaled[0]} of 100 without it, {scaled[1]} with the square root of the range and "
    f"{scaled[2]} with all of it",
    f"nothing else changed, takes {by_ratio[0]} without a defense, {by_ratio[1]} with the square "
    f"root and {by_ratio[2]} with all of the range",
    f"told nothing, picks DLR, too, for {by_pilot} of the 100 images (its records say so)",
    f"within l2 3.0 it takes {through} through the scaling and {without} without a defense",
  ):
    assert sentence in said, sentence


def test_what_is_said_of_the_resnets_of_the_short_schedule():
  groups = {
    (how, loss): published_columns.group(
      published_columns.of(f"table2/resnet32_short_{how}"),
      published_columns.Column(str, {"loss": loss}),
    )
    for how in ("none", "or")
    for loss in ("xent", "cw")
  }
  clean = {how: published_columns.accuracy(groups[how, "cw"]) for how in ("none", "or")}
  xent, cw = (published_columns.under_attack(groups["or", loss]) for loss in ("xent", "cw"))
  blind = published_columns.number("zero_gradients")(groups["or", "xent"])
  assert len(groups["or", "cw"].trials) == 200
  assert (
    f"({clean['none']:.3f} clean, with OR(100) {clean['or']:.3f}) keeps {xent} with OR(100) under "
    f"PGD(Xent), whose gradient is 0 at {blind:.2f} of the steps, and {cw} under PGD(CW)."
  ) in prose("README.md")
