"""Tables 2 and 4: networks under white-box PGD, from ledgers alone. Imports no JAX.

Every folder is the --out of `whitebox_attacks.py --attack=pgd` on one network, with or
without --diagnose.
"""

import tables

from orjax import records

# The paper's Table 2: clean accuracy and accuracy under PGD(Xent) and PGD(CW), CIFAR10.
PAPER_2 = {
  ("wide_resnet32_10", "none"): (0.9532, 0.0, 0.0),
  ("wide_resnet32_10", "pgd"): (0.8630, 0.4795, 0.4861),
  ("wide_resnet32_10", "or"): (0.9438, 0.8807, 0.0),
  ("wide_resnet32_10", "pgd+or"): (0.8892, 0.8203, 0.4209),
  ("resnet32", "none"): (0.9277, 0.0, 0.0),
  ("resnet32", "pgd"): (0.7787, 0.4537, 0.4427),
  ("resnet32", "or"): (0.9151, 0.8499, 0.0),
  ("resnet32", "pgd+or"): (0.8198, 0.6263, 0.3962),
}
# Its Table 4, by where the noise is and its stddev. The printed fractions of a percent look
# like fractions with a percent sign; they are given here as printed.
PAPER_4 = {
  ("every", 5): ("86.92%", "0.0%", "0.0%"),
  ("every", 10): ("66.36%", "0.09%", "0.14%"),
  ("every", 15): ("59.27%", "0.13%", "0.20%"),
  ("first", 10): ("89.5%", "0.0%", "0.0%"),
  ("first", 20): ("83.27%", "0.0%", "0.0%"),
  ("first", 50): ("73.4%", "0.0%", "0.0%"),
  ("first", 100): ("69.42%", "0.0%", "0.02%"),
  ("first", 500): ("55.32%", "0.16%", "0.14%"),
  ("first", 1000): ("50.44%", "0.17%", "0.20%"),
  ("second", 10): ("91.08%", "0.0%", "0.0%"),
  ("second", 20): ("87.14%", "0.0%", "0.0%"),
  ("second", 50): ("75.59%", "0.02%", "0.02%"),
  ("second", 100): ("66.65%", "0.05%", "0.03%"),
  ("second", 500): ("35.96%", "0.16%", "0.15%"),
  ("second", 1000): ("9.71%", "9.61%", "10.23%"),
}


def _folder(directory):
  """(what was asked, manifest, accuracy at test time, records) of one network."""
  manifest = records.read_json(directory, "manifest.json")
  asked, found = manifest["asked"], records.read(directory)
  if (
    asked["attack"] != "pgd"
    or not found
    or asked["targeted"]
    or (asked["model"] and "network" not in asked)
  ):
    raise ValueError(
      f"{directory} holds no untargeted white-box PGD on a network that orjax trained: leave it out"
    )
  return asked, manifest, records.read_json(directory, "accuracy.json")["0"], found


def _cell(found, asked, loss, accuracy):
  """Accuracy under the published attack, and its share of steps without a gradient."""
  members = tables.published(found, asked, loss)
  if not members:
    return "-", "-"
  summary = records.summarise(members)
  return tables.robust(summary, accuracy["accuracy"]), f"{summary['zero_gradients']:.2f}"


def _clean(accuracy):
  low, high = accuracy["interval"]
  return f"{accuracy['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def _trained(manifest):
  """Training steps, and on what: as far as is known, on what the attacks ran."""
  training, about = manifest["about"].get("training") or {}, manifest["about"]
  attacked_on = f"{len(about['devices'])} x {about['devices'][0]}"
  return str(training.get("num_steps", "-")), training.get("device", attacked_on)


def table2(directories: list[str]) -> str:
  """Markdown, a row per network, beside the paper's numbers; those not run are said.

  Raises:
    ValueError: a folder is about something else, or two are about one network.
  """
  header = [
    "data set",
    "network",
    "defense",
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
  rows, seen = [], set()
  for directory in directories:
    asked, manifest, accuracy, found = _folder(directory)
    if asked["noise_location"] != "logits":
      raise ValueError(
        f"{directory} is about noise inside the network: Table 2 is about noise "
        f"on its logits; leave it out"
      )
    key = asked["dataset"], asked["network"], asked["defense"]
    if key in seen:
      raise ValueError(
        f"{directory} is about a network that another folder is about, too: leave one out"
      )
    seen.add(key)
    dataset, network, defense = key
    noisy = "or" in defense.split("+")
    as_published = dataset == "cifar10" and (not noisy or asked["stddev"] == 100)
    paper = PAPER_2.get((network, defense)) if as_published else None
    paper = [f"{x:.4f}" for x in paper] if paper else ["-"] * 3
    xent, zero = _cell(found, asked, "xent", accuracy)
    cw, _ = _cell(found, asked, "cw", accuracy)
    worst = tables.robust(tables.worst_case(found), accuracy["accuracy"])
    num_attacks = len(tables.by_attack(found))
    noise = f"({asked['stddev']:g})" if noisy else ""
    rows.append(
      [
        dataset,
        network,
        defense + noise,
        *_trained(manifest),
        str(len({r["index"] for r in found})),
        _clean(accuracy),
        paper[0],
        xent,
        paper[1],
        zero,
        cw,
        paper[2],
        f"{worst} ({num_attacks})",
      ]
    )
  for (network, defense), paper in PAPER_2.items():
    if ("cifar10", network, defense) not in seen:
      clean, xent, cw = (f"{x:.4f}" for x in paper)
      rows.append(
        ["cifar10", network, defense, "not run", *["-"] * 3, clean, "-", xent, "-", "-", cw, "-"]
      )
  return tables.markdown(header, rows)


def table4(directories: list[str]) -> str:
  """Markdown, a row per place and stddev of noise inside a network, active at test time.

  Accuracies under attack count fresh answers, as the network itself is random: right about
  the clean image and right about what the attack hands in.
  """
  header = [
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
  rows = []
  for directory in directories:
    asked, manifest, accuracy, found = _folder(directory)
    if asked["noise_location"] == "logits" or not asked["test_noise"]:
      raise ValueError(
        f"{directory} is not about noise that is inside the network at test "
        f"time, which is what Table 4 is about: leave it out"
      )
    key = asked["noise_location"], asked["stddev"]
    rows.append(
      [
        asked["dataset"],
        asked["network"],
        f"{key[0]} convolution",
        f"{key[1]:g}",
        *_trained(manifest),
        str(len({r["index"] for r in found})),
        _clean(accuracy),
        *(_cell(found, asked, loss, accuracy)[0] for loss in ("xent", "cw")),
        *PAPER_4.get(key, ("-",) * 3),
      ]
    )
  return tables.markdown(header, rows)
