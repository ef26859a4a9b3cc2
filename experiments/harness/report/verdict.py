"""Whether a white-box attack that fails is only blinded: the verdict of --diagnose."""

import os

from harness.report import ledgers
from harness.report import masking
from harness.report import tables
from harness.report import white_box
from harness.report.ledgers import Ledger
from orjax import records


def worst_case(trials: list[dict]) -> dict:
  """Share of the images that fall to whichever attack does best on each, with interval."""
  fallen: dict[tuple, float] = {}
  for record in trials:
    image = record["index"], record["run"]
    fallen[image] = max(fallen.get(image, 0.0), record["defended_success_rate"])
  num_fallen = sum(fallen.values())
  return {
    "defended_success_rate": num_fallen / len(fallen),
    "num_images": len(fallen),
    "defended_success_rate_interval": records.wilson(num_fallen, len(fallen)),
  }


def verdict(directory: str | os.PathLike) -> str:
  """Whether the cross-entropy of PGD is masked: a sentence for every strength of the defense.

  By the rule of `masking.judge`, from the attacks that the ledger has. The worst case hands
  in, for every image, what the best attack on it found.

  Raises:
    ValueError: the folder has no published attack to judge.
  """
  ledger = ledgers.load(directory)
  groups = records.group(ledger.records, "strength")
  sentences = [_sentences(ledger, strength, trials) for (strength,), trials in groups.items()]
  if len(groups) == 1:
    return sentences[0]
  return "\n".join(f"{ledger.axis} {s:g}: {text}" for (s,), text in zip(groups, sentences))


def judgement(ledger: Ledger, trials: list[dict]) -> masking.Judgement:
  """What the records of one strength show.

  Raises:
    ValueError: there is no published attack among them.
  """
  first = _published(ledger, trials)
  anew = white_box.anew(trials, ledger.request, "xent")
  usual = white_box.usual(trials, ledger.request)
  equal, dearer = {}, {}
  for group in white_box.by_attack(trials):
    if group[0] in anew:
      continue
    if group[0] in usual:
      equal[white_box.attack_name(group[0])] = _fooled(group)
    elif not white_box.sees_gradients(group[0]):
      dearer[white_box.attack_name(group[0])] = _fooled(group)
  return masking.judge(
    masking.Published(
      _fooled(first),
      set().union(*map(_fooled, white_box.by_attack(anew))),
      max(record["setting"]["restarts"] for record in anew),
    ),
    masking.Rivals(equal, dearer),
    {record["index"] for record in first},
    least_blind=min(
      _blind(group) for group in white_box.by_attack(trials) if white_box.sees_gradients(group[0])
    ),
  )


def _published(ledger, trials):
  is_one = ledgers.is_white_box(ledger)
  first = white_box.published(trials, ledger.request, "xent") if is_one else []
  if not first:
    raise ValueError(
      f"{ledger.directory} has no white-box PGD with cross-entropy to judge: run with --diagnose"
    )
  return first


def _fooled(group):
  """Images about which most answers are wrong, over draws of noise and runs."""
  return {
    index
    for (index,), members in records.group(group, "index").items()
    if sum(record["defended_success_rate"] for record in members) > len(members) / 2
  }


def _blind(group):
  return sum(record["zero_gradients"] for record in group) / len(group)


def _sentences(ledger: Ledger, strength: float, trials: list[dict]) -> str:
  first = _published(ledger, trials)
  accuracy = ledgers.accuracy(ledger, strength)["accuracy"]
  alone = tables.accuracy_under_attack(worst_case(first), accuracy)[0]
  worst = worst_case(trials)
  found = judgement(ledger, trials)
  text = (
    found.word.capitalize()
    + (f" ({found.reason})" if found.reason else "")
    + f": PGD(Xent) leaves an accuracy of {alone:.3f}, the worst case of all "
    f"{len(white_box.by_attack(trials))} attacks "
    f"{tables.interval(*tables.accuracy_under_attack(worst, accuracy))} "
    f"({worst['num_images']} images, 95 %)."
  )
  if found.shown_by:
    name, with_more, more, limits = found.shown_by
    text += (
      f" Of the same images {tables.interval(more, *limits)} more fall to {name} than to PGD(Xent)"
      f"{' with more starts and steps' if with_more else ''}."
    )
  text += f" {_blind(first):.2f} of the steps of PGD(Xent) met a gradient of exactly 0."
  if not any(map(white_box.search, trials)):
    text += " No attack without gradients was tried."
  return text
