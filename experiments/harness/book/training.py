"""Figures and tables about training with noise on the logits, or elsewhere."""

from harness.book.evidence import accuracy
from harness.book.evidence import blind
from harness.book.evidence import loss_at_the_end
from harness.book.evidence import standing
from harness.book.rows import Claim
from harness.book.rows import Row
from harness.book.rows import Run
from harness.report import paper

_PGD = "whitebox_attacks --attack=pgd"
_USUAL = {"float64": False, "substitute": None}
_WIDE = "--dataset=cifar10 --network=wide_resnet32_10"

FIGURE_4 = Row(
  "figure4",
  "The loss over 40 steps of PGD on a network trained with noise",
  "PGD(Xent) ends at 5e10 and PGD(CW) at 6.5e10: the first is caught in a local maximum.",
  {
    "tiny": (
      Run(
        "losses",
        f"{_PGD} --trained_with=or --stddev=100 --max_steps=40 --nostop_at_success --trace=10 "
        "--num_images=10 --loss=xent --loss=cw_unbounded",
        0.8,
      ),
    ),
    "cpu": (
      Run(
        "losses",
        "whitebox_attacks --flagfile=experiments/flagfiles/figure4.flags --network=resnet32 "
        "--schedule=short --num_images=200 --trace=200 --loss=xent --loss=cw --loss=cw_unbounded "
        "--slots_per_device=200",
        25,
        "figure4_cifar10/short",
      ),
    ),
    "paper": (
      Run(
        "losses",
        f"{_PGD} {_WIDE} --trained_with=or --stddev=100 --max_steps=40 --nostop_at_success "
        "--trace=100 --num_images=100 --loss=xent --loss=cw_unbounded",
        900,
      ),
    ),
  },
  (
    Claim(
      "share of steps of PGD(Xent) with a gradient of exactly 0",
      blind("losses", loss="xent"),
      None,
      blind("losses", loss="cw_unbounded"),
      "higher",
    ),
    Claim(
      "loss of PGD(CW) in the end",
      loss_at_the_end("losses", loss="cw_unbounded"),
      None,
      loss_at_the_end("losses", loss="xent"),
      "higher",
    ),
  ),
)

_STDDEVS = (10, 100, 1000)
FIGURE_13 = Row(
  "figure13",
  "Accuracy under PGD against the stddev of the noise in training",
  "Robust at every stddev, with very little trade-off in accuracy.",
  {
    "tiny": tuple(
      Run(f"stddev_{name}", f"{_PGD} --num_images=20 {flags} --loss=xent --loss=cw", 0.7)
      for name, flags in (
        ("none", "--trained_with=none"),
        ("10", "--trained_with=or --stddev=10"),
        ("100", "--trained_with=or --stddev=100"),
      )
    ),
    "cpu": tuple(
      Run(
        f"stddev_{name}",
        f"whitebox_attacks --flagfile=experiments/flagfiles/figure13.flags --num_epochs=50 {flags}",
        30,
        f"figure13_mnist/stddev_{name}",
      )
      for name, flags in (
        ("none", "--trained_with=none"),
        *((str(x), f"--stddev={x}") for x in _STDDEVS),
      )
    ),
    "paper": tuple(
      Run(f"stddev_{name}", f"{_PGD} {_WIDE} {flags} --num_images=10000 --loss=xent --loss=cw", 900)
      for name, flags in (
        ("none", "--trained_with=none"),
        *((str(x), f"--trained_with=or --stddev={x}") for x in _STDDEVS),
      )
    ),
  },
  (
    Claim(
      "accuracy under PGD(Xent) at stddev 100",
      standing("stddev_100", loss="xent", **_USUAL),
      None,
      standing("stddev_none", loss="xent", **_USUAL),
      "higher",
    ),
    Claim(
      "accuracy under PGD(CW) at stddev 100",
      standing("stddev_100", loss="cw", **_USUAL),
      None,
      standing("stddev_none", loss="cw", **_USUAL),
      "higher",
    ),
  ),
)

FIGURE_17 = Row(
  "figure17",
  "Transfers to a network trained with stddev 100, from substitutes of several stddevs",
  "A substitute without noise transfers very well; success falls drastically with mimicry.",
  {
    "tiny": (
      Run(
        "transfers",
        f"{_PGD} --trained_with=or --stddev=100 --loss=cw --substitute_stddev=0 "
        "--substitute_stddev=100 --num_images=20",
        1.6,
      ),
    ),
    "cpu": (
      Run(
        "transfers",
        "whitebox_attacks --flagfile=experiments/flagfiles/figure17.flags --num_epochs=50 "
        "--seed=2147483648",
        150,
        "figure17_mnist",
      ),
    ),
    "paper": (
      Run(
        "transfers",
        f"{_PGD} {_WIDE} --trained_with=or --stddev=100 --loss=xent --loss=cw "
        "--substitute_stddev=0 --substitute_stddev=10 --substitute_stddev=100 "
        "--substitute_stddev=1000 --num_images=10000",
        4000,
      ),
    ),
  },
  (
    Claim(
      "accuracy under a transfer of PGD(CW) from a substitute like the target",
      standing("transfers", loss="cw", substitute=lambda name: "-or100-" in name),
      None,
      standing("transfers", loss="cw", substitute=lambda name: "-or" not in name),
      "higher",
    ),
  ),
)

_TRAINED = ("none", "pgd", "or", "pgd+or")


def _table_2(network, data, num_images=10_000, minutes=900, folder=None):
  return tuple(
    Run(
      f"{network}_{how.replace('+', '_')}",
      f"{_PGD} --dataset={data} --network={network} --trained_with={how} "
      f"--num_images={num_images} --loss=xent --loss=cw",
      minutes,
      folder and f"{folder}_{how.replace('+', '_')}",
    )
    for how in _TRAINED
  )


TABLE_2 = Row(
  "table2",
  "Networks trained with noise, adversarially, and with both, under PGD(Xent) and PGD(CW)",
  "Training with noise keeps most of the accuracy under PGD(Xent) and nothing under PGD(CW); with "
  "adversarial training it keeps more under PGD(Xent) than that alone.",
  {
    "tiny": tuple(
      Run(
        f"resnet32_{how.replace('+', '_')}",
        f"{_PGD} --trained_with={how} --num_images=20 --num_epochs={epochs} --loss=xent --loss=cw",
        0.8,
      )
      for how, epochs in zip(_TRAINED, (50, 20, 50, 20))
    ),
    "cpu": _table_2("resnet32", "cifar10", 200, 3, "table2/resnet32_short"),
    "paper": (*_table_2("resnet32", "cifar10"), *_table_2("wide_resnet32_10", "cifar10")),
  },
  tuple(
    Claim(f"{network}, {how}: {text}", reader, number)
    for (network, how), numbers in paper.TABLE_2.items()
    for text, number, reader in zip(
      ("clean accuracy", "accuracy under PGD(Xent)", "accuracy under PGD(CW)"),
      numbers,
      (
        accuracy(f"{network}_{how.replace('+', '_')}"),
        standing(f"{network}_{how.replace('+', '_')}", loss="xent", steps=10, **_USUAL),
        standing(f"{network}_{how.replace('+', '_')}", loss="cw", steps=10, **_USUAL),
      ),
    )
  ),
)

_COMMON = 10  # the stddev that the paper has for every place
_PLACES = ("every", "first", "second")
TABLE_4 = Row(
  "table4",
  "Noise after every, the first or the second convolution, in training and at test time",
  "Accuracy falls rapidly with the stddev, and nothing is left under PGD.",
  {
    "tiny": tuple(
      Run(
        place,
        f"{_PGD} --trained_with=or --noise_location={place} --stddev=0.2 --num_images=20 "
        "--loss=xent --loss=cw --num_epochs=20",
        0.7,
      )
      for place in _PLACES
    ),
    "cpu": tuple(
      Run(
        place,
        "whitebox_attacks --flagfile=experiments/flagfiles/table4.flags --num_epochs=50 "
        f"--noise_location={place} --stddev=0.5",
        60,
        f"table4_mnist/{place}_0.5_full",
      )
      for place in _PLACES
    ),
    "paper": tuple(
      Run(
        place if stddev == _COMMON else f"{place}_{stddev}",
        f"{_PGD} {_WIDE} --trained_with=or --noise_location={place} --stddev={stddev} "
        "--num_images=10000 --loss=xent --loss=cw",
        900,
      )
      for place, stddev in paper.TABLE_4
    ),
  },
  tuple(
    Claim(
      f"accuracy under PGD(CW), noise after {place} convolution",
      standing(place, loss="cw", **_USUAL),
      0.0,
      accuracy(place),
      "lower",
    )
    for place in _PLACES
  ),
)

ROWS = (FIGURE_4, FIGURE_13, FIGURE_17, TABLE_2, TABLE_4)
