"""The rule of --diagnose on numbers alone: when it speaks of masking, when not, when it cannot."""

import itertools
import math

import numpy as np
import pytest

from harness.report import masking
from orjax.records import paired_interval


def judge(n, published, *, anew=None, starts=10, equal=(), dearer=(), blind=0.0):
  """A verdict on n images; attacks are the images that they fool."""
  anew = published if anew is None else anew
  return masking.judge(
    masking.Published(set(published), set(published) | set(anew), starts),
    masking.Rivals(
      {f"equal {i}": set(x) for i, x in enumerate(equal)},
      {f"dearer {i}": set(x) for i, x in enumerate(dearer)},
    ),
    range(n),
    least_blind=blind,
  )


@pytest.mark.parametrize("n", [20, 30, 100, 1000])
@pytest.mark.parametrize("kind", ["equal", "dearer"])
@pytest.mark.parametrize("blind", [0.0, 1.0])
def test_an_attack_that_fools_all_that_another_leaves_shows_masking(n, kind, blind):
  found = judge(n, range(n // 20), **{kind: [range(n)]}, blind=blind)
  assert found.word == "masked" and found.shown_by.more == (n - n // 20) / n
  assert masking.HIDDEN < found.shown_by.interval[0] < found.shown_by.more


@pytest.mark.parametrize("n", [40, 100, 1000])
def test_attacks_that_fool_the_same_images_show_none(n):
  half = range(n // 2)
  found = judge(n, half, equal=[half, half], dearer=[half])
  assert found.word == "not masked" and not found.reason
  low, high = found.shown_by.interval
  assert found.shown_by.more == 0 and -masking.HIDDEN <= low < 0 < high <= masking.HIDDEN


@pytest.mark.parametrize("n", range(1, 36))
def test_few_images_never_show_that_nothing_is_masked(n):
  found = judge(n, [], equal=[[]])
  assert found.word == "undecided" and found.reason == f"{n} images cannot tell"


def test_36_images_do():
  assert judge(36, [], equal=[[]]).word == "not masked"


def test_four_images_show_no_masking_either():
  assert judge(4, [], equal=[range(4)]).word == "undecided"


def test_who_saw_nothing_has_shown_nothing():
  assert judge(100, range(5), equal=[range(5)], blind=0.95).word == "undecided"
  found = judge(100, range(5), equal=[range(5)], dearer=[range(7)], blind=0.51)
  assert found.word == "undecided" and "every gradient was blind" in found.reason
  assert judge(100, range(5), equal=[range(5)], blind=0.5).word == "not masked"
  # Where nothing stands, nothing can be hidden.
  assert judge(100, range(98), equal=[range(98)], blind=0.95).word == "not masked"


def test_a_difference_around_the_limit_is_undecided():
  found = judge(100, range(30), equal=[range(41)])
  assert found.word == "undecided" and found.reason == "100 images cannot tell"
  assert found.shown_by.interval[0] < masking.HIDDEN < found.shown_by.interval[1]
  # As many images more, of more of them, are few.
  assert judge(1000, range(300), equal=[range(311)]).word == "not masked"


def test_what_other_starts_and_steps_find_is_weakness_and_not_masking():
  weak, strong = range(10), range(90)
  assert judge(100, weak, anew=strong, dearer=[strong]).word == "not masked"
  assert judge(100, weak, anew=weak, dearer=[strong]).word == "masked"
  # An attack of as many steps had no such help.
  assert judge(100, weak, anew=strong, equal=[strong]).word == "masked"


def _lucky(rng, n, num_attacks):
  """What equally good attacks fool: half of the images, which ones is chance."""
  return [set(np.flatnonzero(rng.random(n) < 0.5).tolist()) for _ in range(num_attacks)]


def test_a_union_of_lucky_attacks_hides_no_more_than_as_many_starts():
  """The same attack under ten names; each alone fools half of the images."""
  rng, n = np.random.default_rng(0), 100
  for _ in range(40):
    published, *others = _lucky(rng, n, 11)
    again = set().union(*_lucky(rng, n, 10))
    assert len(published.union(*others)) - len(published) > 30, "what the union adds"
    assert judge(n, published, anew=again, equal=others).word != "masked"


def test_without_as_many_starts_a_union_does_not_count():
  """Four attacks, each of which fools 9 images more: only all together would be masking."""
  parts = [range(9 * i, 9 * i + 9) for i in range(4)]
  assert judge(100, [], equal=parts, starts=4).word == "masked"
  found = judge(100, [], equal=parts, starts=3)
  assert found.word == "undecided" and found.shown_by.name.startswith("equal")


def test_more_attacks_need_a_larger_difference():
  """Bonferroni: the best of many is believed later than the only one."""
  words = [judge(100, [], starts=0, equal=[range(23), *[[]] * more]).word for more in (0, 19)]
  assert words == ["masked", "undecided"]


def test_nothing_to_judge_by():
  found = judge(100, range(50))
  assert (found.word, found.shown_by) == ("undecided", None)
  assert found.reason == "no other attack was tried"
  with pytest.raises(ValueError, match="there are no images to judge by: attack some"):
    judge(0, [], equal=[[]])


def test_verdicts_of_either_kind_are_seldom_wrong():
  """True differences on both sides of the limit; a wrong word in at most 5 % of the draws."""
  rng = np.random.default_rng(1)
  for n, only, lost, truth in ((100, 0.13, 0.04, "not masked"), (100, 0.15, 0.04, "masked")):
    wrong = {"masked": "not masked", "not masked": "masked"}[truth]
    draws = rng.multinomial(n, [only, lost, 1 - only - lost], size=300)
    words = [
      judge(n, range(num_only, num_only + num_lost), equal=[range(num_only)], starts=0).word
      for num_only, num_lost, _ in draws.tolist()
    ]
    assert words.count(wrong) <= 0.05 * len(words)


@pytest.mark.parametrize("num_pairs", [1, 5, 20])
@pytest.mark.parametrize("error", [0.05, 0.004])
def test_paired_limits_are_exact(num_pairs, error):
  """Whatever the true shares are, each limit is wrong with the error's probability at most."""
  counts = [
    (a, b) for a, b in itertools.product(range(num_pairs + 1), repeat=2) if a + b <= num_pairs
  ]
  limits = [paired_interval(*count, num_pairs, error) for count in counts]
  for first, second in itertools.product(np.linspace(0, 1, 9), repeat=2):
    if first + second > 1:
      continue
    chances = [
      math.comb(num_pairs, a) * math.comb(num_pairs - a, b)
      * first**a * second**b * max(1 - first - second, 0) ** (num_pairs - a - b)
      for a, b in counts
    ]  # fmt: skip
    assert sum(chances) == pytest.approx(1)
    too_high = sum(p for p, (low, _) in zip(chances, limits) if low > first - second + 1e-9)
    too_low = sum(p for p, (_, high) in zip(chances, limits) if high < first - second - 1e-9)
    assert max(too_high, too_low) <= error


def test_paired_limits_of_known_counts():
  # Without any difference: (error / 2) ** (1 / n), as q is all that is known.
  low, high = paired_interval(0, 0, 30, 0.05)
  assert high == -low == pytest.approx(1 - 0.025 ** (1 / 30))
  # Only the first succeeds, always: q and p are above 0.025 ** (1 / 10).
  share = 0.025 ** (1 / 10)
  assert paired_interval(10, 0, 10, 0.05) == (pytest.approx(share * (2 * share - 1)), 1.0)
  low, high = paired_interval(7, 3, 50, 0.05)
  assert (-high, -low) == paired_interval(3, 7, 50, 0.05) and low < 0 < 4 / 50 < high
  # McNemar's exact test of 6 against 0: 2 ** -6 is below 0.05 / 2; of 5 it is not.
  assert paired_interval(6, 0, 100, 0.05)[0] > 0 > paired_interval(5, 0, 100, 0.05)[0]


@pytest.mark.parametrize("arguments", [(3, 3, 5), (-1, 0, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(arguments):
  with pytest.raises(ValueError, match="pass counts of the same pairs"):
    paired_interval(*arguments)


@pytest.mark.parametrize("error", [0, 0.5, math.nan])
def test_impossible_errors_are_refused(error):
  with pytest.raises(ValueError, match="pass 0.05 for 95 %"):
    paired_interval(1, 0, 5, error)
