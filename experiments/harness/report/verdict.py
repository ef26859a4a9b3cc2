"""Whether a white-box attack that fails is only blinded: the verdict of --diagnose."""

import os

from harness.report import ledgers
from harness.report import tables
from harness.report import white_box
from harness.report.ledgers import Ledger
from orjax import records

_MASKED = 0.1  # of all images: what stronger attacks must add


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

  The worst case hands in, for every image, what the best attack on it found. Masked means
  that attacks of as many steps and starts as the published one succeed on more than a tenth
  of all images where it does not; what more steps and starts add is no masking.

  Raises:
    ValueError: the folder has no published attack to judge.
  """
  ledger = ledgers.load(directory)
  groups = records.group(ledger.records, "strength")
  sentences = [_sentence(ledger, strength, trials) for (strength,), trials in groups.items()]
  if len(groups) == 1:
    return sentences[0]
  return "\n".join(f"{ledger.axis} {s:g}: {text}" for (s,), text in zip(groups, sentences))


def _sentence(ledger: Ledger, strength: float, trials: list[dict]) -> str:
  is_one = ledgers.is_white_box(ledger)
  first = white_box.published(trials, ledger.request, "xent") if is_one else []
  if not first:
    raise ValueError(
      f"{ledger.directory} has no white-box PGD with cross-entropy to judge: run with --diagnose"
    )
  accuracy = ledgers.accuracy(ledger, strength)["accuracy"]
  equals = white_box.usual(trials, ledger.request)
  alone, equal = (
    tables.accuracy_under_attack(worst_case(group), accuracy)[0] for group in (first, equals)
  )
  worst = worst_case(trials)
  worst_accuracy = tables.interval(*tables.accuracy_under_attack(worst, accuracy))
  zero = sum(record["zero_gradients"] for record in first) / len(first)
  masked = alone - equal > _MASKED
  num_usual, num_all = (len(white_box.by_attack(group)) for group in (equals, trials))
  return (
    f"{'Masked' if masked else 'Not masked'}: PGD(Xent) leaves an accuracy of "
    f"{alone:.3f}, the worst of {num_usual} attacks of as many steps {equal:.3f}, the "
    f"worst case of all {num_all} {worst_accuracy} "
    f"({worst['num_images']} images, 95 %); {zero:.2f} of the steps of PGD(Xent) met "
    f"a gradient of exactly 0, so that "
    + (
      f"{alone - equal:.3f} of the accuracy was hidden, not defended."
      if masked
      else f"{alone - equal:.3f} was hidden."
    )
  )
