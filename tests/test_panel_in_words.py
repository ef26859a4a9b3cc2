"""Every number in a sentence about the panels is recomputed from the committed ledgers."""

import numpy as np
import published_columns
from published_columns import index
from published_columns import median_of_all
from published_columns import near
from published_columns import num_fell
from published_columns import prose
from published_columns import trials_at

from harness.report import panel


def test_what_is_said_of_the_panel():
  """The counts at 1e-4, in the README, the index and the folder's own text."""
  load = lambda each: published_columns.load(f"panel_mnist/{each}")
  names = ("square/published", "square/asked_again", "sign_hunter/published", "ql/plain")
  names += ("sign_hunter/sequential", "rays/published", "rays/votes", "decision/pop_skip_jump")
  names += ("nes/informed",)
  ball = panel.Radius("l2", 3.0)
  fell = {x: round(100 * panel.reached(load(x), ball)[1e-4].rate) for x in names}
  said = (
    f"variance 1e-4 QL takes {fell['ql/plain']} images; SignHunter "
    f"{fell['sign_hunter/published']} as published and {fell['sign_hunter/sequential']} when it "
    f"tests each step, Square {fell['square/published']} and {fell['square/asked_again']} when it "
    f"asks about its best image again, RayS on labels {fell['rays/published']} and "
    f"{fell['rays/votes']} with votes."
  )
  assert said in prose("README.md")
  assert (
    f"QL takes {fell['ql/plain']} images, SignHunter "
    f"{fell['sign_hunter/published']}, Square {fell['square/published']}, RayS "
    f"{fell['rays/published']}; those who know of the noise {fell['sign_hunter/sequential']} "
    f"(SignHunter), {fell['square/asked_again']} (Square), {fell['rays/votes']} (RayS), and within "
    f"l2 3.0 PopSkipJump {fell['decision/pop_skip_jump']} and informed NES {fell['nes/informed']}"
  ) in index()
  assert (
    f"{fell['ql/plain']} of 100 at variance 1e-4; SignHunter and Square, which change the "
    f"image by several units at once, take {fell['sign_hunter/published']} and "
    f"{fell['square/published']} there"
  ) in prose("panel_mnist")


def test_what_is_said_of_starts_that_cost_nothing_and_of_longer_probes():
  """The counts at all variances, of transfers, the evolution strategy and Bandits."""
  strengths = (0, 1e-6, 1e-4, 1e-2, 5.76e-2)

  def fell(each, first=False):
    rows = [trials_at(f"panel_mnist/{each}", strength) for strength in strengths]
    return [
      sum(r["clean_success"] and (not first or r["num_queries"] == 1) for r in x) for x in rows
    ]

  wide, clean, mimic = fell("bandits/wide"), fell("square/transferred"), fell("square/mimic")
  plain, votes = fell("evolution/plain"), fell("evolution/votes")
  spsa, long_probes = fell("spsa/published"), fell("spsa/wide")
  cached = fell("square/published")
  said = prose("panel_mnist")
  for sentence in (
    f"it takes {wide[1]} at 1e-6 and {wide[2]} at 1e-4, more than its {wide[0]} without noise",
    f"{spsa[0]} images without noise, {spsa[1]} at 1e-6, {spsa[2]}, {spsa[3]} and {spsa[4]} at "
    "1e-4, 1e-2 and 5.76e-2 as published; with probes ten times as long and votes "
    f"{', '.join(map(str, long_probes[:4]))} and {long_probes[4]}.",
    f"already a success on {fell('square/transferred', first=True)[0]} of 100 images",
    f"{clean[2]} at 1e-4, {clean[3]} and {clean[4]} at 1e-2 and 5.76e-2, as published",
    f"begins with {fell('square/mimic', first=True)[0]} successes and ends at {mimic[2]}, "
    f"{mimic[3]} and {mimic[4]}, where Square without it ends at {cached[2]}, {cached[3]} and "
    f"{cached[4]}",
    f"takes {plain[2]} and {plain[3]} at 1e-4 and 1e-2 on single looks; votes add little until "
    f"5.76e-2 ({votes[4]} instead of {plain[4]})",
  ):
    assert sentence in said, sentence


def test_what_is_said_of_square_by_another_statistic():
  variances = (1e-6, 1e-4, 1e-2, 5.76e-2)
  fell = {
    name: ", ".join(str(num_fell(trials_at(f"panel_mnist/square/{name}", x))) for x in variances)
    for name in ("asked_again", "asked_again_margin", "sequential", "sequential_margin")
  }
  tested_rows, asked_rows = (
    trials_at(f"panel_mnist/square/{x}", 1e-4) for x in ("sequential", "asked_again")
  )
  again, by_margin, tested, tested_by_margin = (
    " and ".join(x.rsplit(", ", 1)) for x in fell.values()
  )
  assert (
    f"at 1e-4 the {num_fell(tested_rows)} images that fall cost it {_price(tested_rows):.0f} "
    f"queries in the median, where two looks a step take {num_fell(asked_rows)} for "
    f"{_price(asked_rows):.0f}, and"
  ) in prose("panel_mnist")
  assert (
    f"Square takes {by_margin} at the four variances when it asks again, not {again}, and "
    f"{tested_by_margin} with the test, not {tested}:"
  ) in prose("panel_mnist")


def test_what_is_said_of_the_panel_on_cifar10():
  """The counts in the index and in the folder's own text."""
  names = ("square", "sign_hunter", "spsa", "rays", "bandits", "ql")
  trials = {x: trials_at(f"panel_cifar10/{x}/published", 0) for x in names}
  fell = {x: sum(r["clean_success"] for r in rows) for x, rows in trials.items()}
  median = {
    x: round(median_of_all(rows, "num_queries")) for x, rows in trials.items() if fell[x] > 25
  }
  evolution, zoo = (
    trials_at(f"panel_cifar10/{x}", 0) for x in ("evolution/plain", "zoo/published")
  )
  assert all(r["l2"] < 0.1 for r in zoo if r["clean_success"])
  assert fell["square"] == fell["sign_hunter"]
  assert (
    f"Square and SignHunter {fell['square']}, SPSA {fell['spsa']}, RayS on labels {fell['rays']}, "
    f"Bandits {fell['bandits']}, QL {fell['ql']}, an evolution strategy {num_fell(evolution)}, "
    f"APGD with gradients {num_fell(trials_at('panel_cifar10/apgd/xent', 0))}; begun on a "
    f"substitute Square has {_at_once(trials_at('panel_cifar10/square/transferred', 0))} at the "
    "first look |"
  ) in index()
  said = prose("panel_cifar10")
  for sentence in (
    f"need a median of {median['square']} and {median['sign_hunter']} queries, and Bandits leaves "
    f"{50 - fell['bandits']}:",
    f"QL takes {fell['ql']} of 50",
    f"RayS, from labels alone, takes {fell['rays']}.",
    f"takes {num_fell(evolution)}, at a median of {median_of_all(evolution, 'num_queries'):.0f} "
    "queries. ZOO as published "
    f"takes {num_fell(zoo)}, all within l2 0.1: 10,000 queries are "
    f"{max(r['num_steps'] for r in zoo)} of its steps.",
    f"APGD, which has gradients, takes all {num_fell(trials_at('panel_cifar10/apgd/xent', 0))};",
    *_without_a_ball(),
    *_on_labels(),
    *_transferred(),
  ):
    assert sentence in said, sentence


def _price(rows):
  """The median queries of those that fell."""
  return np.median([r["num_queries"] for r in rows if r["clean_success"]])


def _without_a_ball():
  """What is said of attacks in no ball on CIFAR10."""
  found = {}
  names = ("decision/hop_skip_jump", "decision/pop_skip_jump", "nes/informed", "zoo/informed")
  for name in names:
    rows = trials_at(f"panel_cifar10/{name}", 0)
    found[name] = f"{median_of_all(rows, 'l2'):.3f}", near(rows, 0.5)
  (hop, num_hop), (pop, num_pop), (nes, num_nes), (zoo, num_zoo) = found.values()
  return (
    f"median l2 distance of {hop} ({num_hop} within 0.5), PopSkipJump-lite at {pop} ({num_pop})",
    f"(median {float(nes):.2f}; {num_nes} within 0.5); informed ZOO",
    f"(median {float(zoo):.2f}; {num_zoo}).",
  )


def _at_once(rows):
  """Of how many images the first look is the success."""
  return sum(r["clean_success"] and r["num_queries"] == 1 for r in rows)


def _transferred():
  """What is said of Square that begins on other networks, on CIFAR10."""
  clean, mimic, alone = (
    trials_at(f"panel_cifar10/square/{x}", 0) for x in ("transferred", "mimic", "published")
  )
  median = lambda rows: f"{median_of_all(rows, 'num_queries'):,.0f}"
  return (
    f"{_at_once(clean)} of 50 images fall at the first look, and Square goes on to "
    f"{num_fell(clean)}.",
    f"it begins with {_at_once(mimic)} and ends at {num_fell(mimic)}, at a median of "
    f"{median(mimic)} queries where Square by itself needs {median(alone)}.",
  )


def _on_labels():
  """What is said of attacks that are told little on CIFAR10."""
  top, labels = (
    trials_at(f"panel_cifar10/labels/{x}", 0) for x in ("partial_information", "label_only")
  )
  assert not any(r["claimed"] for r in labels) and {r["num_steps"] for r in labels} == {100}
  return (
    f"brings {num_fell(top)} images back into the ball.",
    f"cut off at the ball, fools {num_fell(labels)} times.",
  )
