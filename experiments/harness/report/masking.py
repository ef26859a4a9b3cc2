"""Is a white-box attack masked? The rule, from which images fall to which attacks."""

from collections.abc import Collection
from collections.abc import Mapping
from typing import NamedTuple

from orjax import records

HIDDEN = 0.1  # of the attacked images: what must be hidden to speak of masking
BLIND = 0.5  # of the steps, that met a gradient of exactly 0
ERROR = 0.05  # of a verdict of either kind

# The images, by whatever tells them apart, that an attack fools.
Fooled = Collection


class Published(NamedTuple):
  """The attack that is judged.

  Attributes:
    fooled: as it was asked for.
    fooled_anew: also with more starts or more steps: what chance and patience add to it.
    num_starts: of `fooled_anew`.
  """

  fooled: Fooled
  fooled_anew: Fooled
  num_starts: int


class Rivals(NamedTuple):
  """The other attacks, {name: images that it fools}.

  Attributes:
    equal: of as many steps and starts as the published one.
    dearer: that ask more, such as those without gradients.
  """

  equal: Mapping[str, Fooled]
  dearer: Mapping[str, Fooled]


class Comparison(NamedTuple):
  """A rival and the published attack on the same images.

  Attributes:
    name: of the rival.
    with_more: whether the published attack had more starts and steps than were asked for.
    more: share of all images by which the rival fools more.
    interval: of that; each limit errs with the probability that it was asked for.
  """

  name: str
  with_more: bool
  more: float
  interval: tuple[float, float]


class Judgement(NamedTuple):
  """What is found.

  Attributes:
    word: "masked", "not masked" or "undecided".
    shown_by: the comparison that decides; None where there was nothing to compare with.
    reason: why it is undecided, as a clause; "" otherwise.
  """

  word: str
  shown_by: Comparison | None
  reason: str = ""


def judge(
  published: Published, rivals: Rivals, images: Collection, *, least_blind: float
) -> Judgement:
  """Whether an attack's failure is the model's merit, or only its gradient's.

  Every rival is compared with the published attack on the same images: how many only it
  fools, less how many only the published one does. An equal rival meets the attack as it
  was asked for, a dearer one the attack with more starts and steps. All rivals together
  fool more than any of them, by chance alone; so does the attack from other starts. They
  are therefore compared with it from as many starts or more, if there are such records.

  - Masked: the lower limit of a comparison is above `HIDDEN`. They share `ERROR` (Bonferroni).
  - Undecided: else, if even the least blind gradient was 0 at more than `BLIND` of its steps,
    and more than `HIDDEN` of the images stand. Who saw nothing has shown nothing.
  - Not masked: else, if the upper limit of all together is at most `HIDDEN`; without such
    records, that of every rival. All of them must be, so that each may have all of `ERROR`.
  - Undecided: else. Without any difference that takes 36 images.

  Args:
    published: the attack that is judged.
    rivals: the others.
    images: all that were attacked.
    least_blind: share of the steps, of the attack through the model's own gradient that had
      the smallest one, that met a gradient of exactly 0.

  Returns:
    A `Judgement`.

  Raises:
    ValueError: there are no images.
  """
  if not images:
    raise ValueError("there are no images to judge by: attack some")
  tests = [(name, fooled, False) for name, fooled in rivals.equal.items()]
  tests += [(name, fooled, True) for name, fooled in rivals.dearer.items()]
  if not tests:
    return Judgement("undecided", None, "no other attack was tried")
  deciding = tests
  if len(tests) <= published.num_starts:
    union = set(published.fooled).union(*(fooled for _, fooled, _ in tests))
    deciding = [(f"all {len(tests)} others together", union, True)]
    tests = [*tests, *deciding]

  def compare(test, error):
    name, fooled, with_more = test
    reference = published.fooled_anew if with_more else published.fooled
    only = sum(image in fooled and image not in reference for image in images)
    lost = sum(image in reference and image not in fooled for image in images)
    interval = records.paired_interval(only, lost, len(images), error)
    return Comparison(name, with_more, (only - lost) / len(images), interval)

  shares = [compare(test, ERROR / len(tests)) for test in tests]
  most = max(shares, key=lambda share: share.interval[0])
  if most.interval[0] > HIDDEN:
    return Judgement("masked", most)
  most = max((compare(test, ERROR) for test in deciding), key=lambda share: share.interval[1])
  standing = sum(image not in published.fooled_anew for image in images) / len(images)
  if least_blind > BLIND and standing > HIDDEN:
    return Judgement("undecided", most, "every gradient was blind, and no other attack did enough")
  if most.interval[1] <= HIDDEN:
    return Judgement("not masked", most)
  return Judgement("undecided", most, f"{len(images)} images cannot tell")
