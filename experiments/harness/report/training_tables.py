"""Tables 2 and 4: networks under white-box PGD.

Every folder is the --out of `whitebox_attacks.py --attack=pgd` on one network, with or
without --diagnose.
"""

from collections.abc import Iterable
import os

from harness.report import ledgers
from harness.report import paper
from harness.report import tables
from harness.report import verdict
from harness.report import white_box
from harness.report.ledgers import Ledger
from orjax import records

_HEADER_2 = [
  "data set",
  "network",
  "trained with",
  "training steps",
  "hardware",
  "images",
  "clean accuracy",
  "paper",
  "PGD(Xent)",
  "paper",
  "its steps without gradient",
  "PGD(CW)",
  "paper",
  "worst case (attacks)",
]
_HEADER_4 = [
  "data set",
  "network",
  "noise after",
  "stddev",
  "training steps",
  "hardware",
  "images",
  "accuracy with noise",
  "PGD(Xent)",
  "PGD(CW)",
  "paper (wide ResNet, CIFAR10): clean",
  "PGD(Xent)",
  "PGD(CW)",
]


def table2(directories: Iterable[str | os.PathLike]) -> str:
  """Markdown, a row per network, beside the paper's numbers; a network that was not run, too.

  Raises:
    ValueError: a folder is about something else, or two are about one network.
  """
  rows, seen = [], set()
  for ledger in map(_load, directories):
    if ledger.request["defense"] != "none":
      raise ValueError(
        f"{ledger.directory} is about {ledger.request['defense']} at test time: Table 2 is about "
        f"networks that are trained with noise on their logits and attacked without; leave it out"
      )
    network = _network(ledger)
    if network in seen:
      raise ValueError(
        f"{ledger.directory} is about a network that another folder is about, too: leave one out"
      )
    seen.add(network)
    rows.append(_row_of_table2(ledger))
  for (network, trained_with), printed in paper.TABLE_2.items():
    if ("cifar10", network, trained_with) not in seen:
      clean, xent, cw = (f"{x:.4f}" for x in printed)
      not_run = ["not run", *["-"] * 3, clean, "-", xent, "-", "-", cw, "-"]
      rows.append(["cifar10", network, trained_with, *not_run])
  return tables.markdown(_HEADER_2, rows)


def table4(directories: Iterable[str | os.PathLike]) -> str:
  """Markdown, a row per place and stddev of noise inside a network, active at test time.

  Accuracies under attack count fresh answers, as the network itself is random: right about
  the clean image and right about what the attack hands in.

  Raises:
    ValueError: a folder is about something else.
  """
  rows = []
  for ledger in map(_load, directories):
    if ledger.request["defense"] != "inner_noise":
      raise ValueError(
        f"{ledger.directory} is not about noise that is inside the network at test "
        f"time, which is what Table 4 is about: leave it out"
      )
    for (stddev,), members in records.group(ledger.records, "strength").items():
      rows.append(_row_of_table4(ledger, stddev, members))
  return tables.markdown(_HEADER_4, rows)


def _load(directory) -> Ledger:
  """The ledger of one network that orjax trained."""
  ledger = ledgers.load(directory)
  request = ledger.request
  if (
    not ledgers.is_white_box(ledger)
    or request.get("targeted")
    or request.get("trained_with") is None
  ):
    raise ValueError(
      f"{directory} holds no untargeted white-box PGD on a network that orjax trained: leave it out"
    )
  return ledger


def _network(ledger):
  """(data set, network, what it was trained with)."""
  request = ledger.request
  return request["dataset"], request.get("network", "convnet"), request["trained_with"]


def _row_of_table2(ledger):
  dataset, network, trained_with = _network(ledger)
  noisy = "or" in trained_with.split("+")
  stddev = ledger.request["stddev"] if noisy else None
  as_published = dataset == "cifar10" and (not noisy or stddev == 100)
  printed = paper.TABLE_2.get((network, trained_with)) if as_published else None
  clean, printed_xent, printed_cw = [f"{x:.4f}" for x in printed] if printed else ["-"] * 3
  accuracy = ledgers.accuracy(ledger, ledger.records[0]["strength"])
  xent, zero = _under_published_attack(ledger, ledger.records, "xent", accuracy)
  cw, _ = _under_published_attack(ledger, ledger.records, "cw", accuracy)
  worst = tables.accuracy_under_attack(verdict.worst_case(ledger.records), accuracy["accuracy"])
  num_attacks = len(white_box.by_attack(ledger.records))
  return [
    dataset,
    network,
    trained_with + (f"({stddev:g})" if noisy else ""),
    *_training(ledger),
    _num_images(ledger.records),
    tables.interval(accuracy["accuracy"], *accuracy["interval"]),
    clean,
    xent,
    printed_xent,
    zero,
    cw,
    printed_cw,
    f"{tables.interval(*worst)} ({num_attacks})",
  ]


def _row_of_table4(ledger, stddev, members):
  dataset, network, trained_with = _network(ledger)
  place, in_training = ledger.request["noise_location"], ledger.request["stddev"]
  place = "before every" if trained_with == "rse" else place
  accuracy = ledgers.accuracy(ledger, stddev)
  as_trained = stddev == in_training
  return [
    dataset,
    network,
    f"{place} convolution",
    f"{stddev:g}" + ("" if as_trained else f" (in training {in_training:g})"),
    *_training(ledger),
    _num_images(members),
    tables.interval(accuracy["accuracy"], *accuracy["interval"]),
    *(_under_published_attack(ledger, members, loss, accuracy)[0] for loss in ("xent", "cw")),
    *(paper.TABLE_4.get((place, stddev), ("-",) * 3) if as_trained else ("-",) * 3),
  ]


def _under_published_attack(ledger, trials, loss, accuracy):
  """Accuracy under the published attack, and the share of its steps without a gradient."""
  members = white_box.published(trials, ledger.request, loss)
  if not members:
    return "-", "-"
  summary = records.summarise(members)
  under_attack = tables.accuracy_under_attack(summary, accuracy["accuracy"])
  return tables.interval(*under_attack), f"{summary['zero_gradients']:.2f}"


def _training(ledger):
  """Training steps, and on what: as far as is known, on what the attacks ran."""
  about = ledger.manifest["about"]
  training = about.get("training") or {}
  attacked_on = " x ".join([str(len(about["devices"])), *map(str, about["devices"][:1])])
  return str(training.get("num_steps", "-")), training.get("device", attacked_on)


def _num_images(trials):
  return str(len({record["index"] for record in trials}))
