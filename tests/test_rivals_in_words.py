"""What READMEs say of rival defenses, recomputed from the committed ledgers."""

import numpy as np
import published_columns
from published_columns import index
from published_columns import prose

from orjax import records


def test_what_is_said_of_the_rivals_on_cifar10():
  """Figures 10 and 11, and white boxes beside each other."""
  fell = lambda rows: sum(r["clean_success"] for r in rows)
  load = lambda name: published_columns.load(f"figure10_cifar10/{name}").records
  wide = [r for r in load("wide_output_noise") if r["strength"] == 1e-4]
  loud = [r for r in load("output_noise") if r["strength"] == 5.76e-2]
  said = prose("figure10_cifar10")
  assert (
    f"at variance 1e-4 he takes {fell(load('wide_rse_0.0001'))} of 20 images of the "
    f"self-ensembling network and {fell(wide)} of 20 through output noise"
  ) in said
  assert f"ZOO claims {sum(r['claimed'] for r in loud)} of 20 images" in said and not fell(loud)
  cost = [
    published_columns.load(f"figure10_cifar10/{name}").accuracy[key]["accuracy"]
    for name, key in (("rse_0.0576", "0.24"), ("output_noise", "0.0576"))
  ]
  front = prose("README.md")
  assert f"costs more accuracy ({cost[0]:.3f} instead of {cost[1]:.3f} at 5.76e-2)" in front
  assert (
    f"widens his probes takes {fell(load('wide_rse_0.0001'))} of 20 images of it, and "
    f"{fell(wide)} through output noise"
  ) in front
  boxes = {
    name: published_columns.load(f"controls_cifar10/whitebox/{name}").records
    for name in ("apgd", "pgd")
  }
  images = {
    str(sorted(r["index"] for r in rows if r["clean_success"] and r["setting"][loss] == x))
    for name, loss in (("apgd", "apgd_loss"), ("pgd", "loss"))
    for rows in [boxes[name]]
    for x in {r["setting"][loss] for r in rows}
  }
  (same,) = images
  assert same.count(",") + 1 == 6 and "They are the same images." in prose("controls_cifar10")


def test_what_is_said_of_the_rivals_on_imagenet():
  names = ("undefended", "xie", "output_noise")
  folders = {x: published_columns.load(f"table3_imagenet/{x}") for x in names}
  fell = {x: sum(r["clean_success"] for r in each.records) for x, each in folders.items()}
  assert {len(each.records) for each in folders.values()} == {10} and fell["xie"] == 0
  (plain,), (xie,), (noise,) = (
    [found["accuracy"] for found in folders[x].accuracy.values()] for x in names
  )
  assert (
    f"{fell['output_noise']} of 10 images each and {fell['undefended']} without, at "
    f"{plain - xie:.3f} of accuracy instead of {plain - noise:.3f} "
  ) in prose("README.md")


def _compared(name, *attacks):
  """Records by defense, none among them, and attack; how many fell; the defenses but none."""
  folder = published_columns.RESULTS / name
  ledgers = {
    path.name: {x: records.read(path / x) for x in attacks}
    for path in sorted(folder.iterdir())
    if path.is_dir()
  }
  fell = {
    defense: {x: sum(r["clean_success"] for r in rows) for x, rows in each.items()}
    for defense, each in ledgers.items()
  }
  return ledgers, fell, [defense for defense in ledgers if defense != "none"]


def test_the_zoo_at_one_accuracy():
  """What is said of all defenses of digits, from the ledger of every cell."""
  attacks = ("zoo", "ql", "bandits", "square", "pop_skip_jump", "informed_nes")
  _, fell, names = _compared("defenses_digits", *attacks)
  shrinks, alters = "resize_pad", ("resize_pad", "confidence_gate", "uint8_input")
  sure = [fell[name] for name in names if name != "boundary_noise"]
  others = [fell[name] for name in names if name != shrinks]
  on_labels = [fell[name]["pop_skip_jump"] for name in names if name not in alters]
  least = lambda attack: min(found[attack] for found in others)
  said = prose("defenses_digits")
  for sentence in (
    f"All {len(names)} defenses",
    f"ZOO takes at most {max(x['zoo'] for x in sure)} of 20 images through every defense but one",
    f"and QL at most {max(x['ql'] for x in sure)}. Informed NES, with the same 10,000 queries, "
    f"takes {least('informed_nes')} to 20 through all but `resize_pad`",
    f"PopSkipJump, on labels, {min(on_labels)} to 20 through all but that and two",
    f"(`confidence_gate` {fell['confidence_gate']['pop_skip_jump']}, `uint8_input` "
    f"{fell['uint8_input']['pop_skip_jump']}); Square {least('square')} to 20 through all but",
    f"the best of the six takes at least {min(max(x.values()) for x in others)} of 20",
  ):
    assert sentence in said, sentence


def test_the_zoo_on_mnist():
  """What is said of all defenses of MNIST, from the ledger of every cell."""
  ledgers, fell, names = _compared("defenses_mnist", "zoo", "ql", "bandits", "informed_nes")
  far = {
    name: np.mean([r["l2"] for r in each["informed_nes"] if r["clean_success"]])
    for name, each in ledgers.items()
  }
  nes = {name: fell[name]["informed_nes"] for name in names}
  all_of_them = [name for name in names if nes[name] == 20]
  hard = sorted((name for name in names if nes[name] < 20), key=nes.get, reverse=True)
  of_hard = [f"`{name}` {nes[name]}" for name in hard]
  blind_ql = sum(fell[name]["ql"] == 0 for name in names)
  most = max((name for name in names if name != "boundary_noise"), key=lambda x: fell[x]["bandits"])
  for text in (prose("README.md"), index()):
    assert f"takes none through {blind_ql} of {len(names)}" in text
  assert f"informed NES all 20 through {len(all_of_them)}." in prose("README.md")
  assert f"informed NES all through {len(all_of_them)} |" in index()
  altered = ledgers["uint8_input"]["informed_nes"]
  fresh = np.mean([r["defended_success_rate"] for r in altered])
  said = prose("defenses_mnist")
  for sentence in (
    f"All {len(names)} defenses",
    f"ZOO takes none through any of them, and none without (10,000 queries are too few for it); QL "
    f"0 of 20 through {blind_ql} of {len(names)}, where it takes {fell['none']['ql']} without",
    f"Bandits at most {fell[most]['bandits']} (`{most}`) of the {fell['none']['bandits']} it takes "
    "without, `boundary_noise` apart.",
    f"takes all 20 images through {len(all_of_them)} of {len(names)}, at a mean l2 of "
    f"{min(far[x] for x in all_of_them):.2f} to {max(far[x] for x in all_of_them):.2f} where it "
    f"ends at {far['none']:.2f} without, and of the others {', '.join(of_hard[:-1])} and "
    f"{of_hard[-1]}",
    f"claims {sum(r['claimed'] for r in altered)} of 20 through `uint8_input`, and a fresh "
    f"defended answer about them is fooled in {fresh:.2f} of the cases",
  ):
    assert sentence in said, sentence
