"""Figures and tables about attackers who only ask."""

from harness.book import common
from harness.book.evidence import success
from harness.book.rows import Claim
from harness.book.rows import Row
from harness.book.rows import Run
from harness.report import paper

_ONE_C = "--trade_off=3 --binary_search_steps=1"
_TINY_ZOO = f"blackbox_attacks {_ONE_C} --max_steps=60"
_VARIANCES = "--variance=0 --variance=1e-6 --variance=1e-4 --variance=1e-2 --variance=5.76e-2"
_PAPER = "--num_images=100 --num_runs=30"
_MOBILENET = "--model=experiments/examples/mobilenet.py:mobilenet_075_224"


FIGURE_2 = Row(
  "figure2",
  "ZOO's success against the variance of the noise",
  "Noise blocks the attack at variances below 1e-6, targeted and untargeted; at 1e-4 the accuracy "
  "is as without noise.",
  {
    "tiny": (
      Run("untargeted", f"{_TINY_ZOO} --num_images=4 --variance=0 --variance=1e-4", 0.7),
      Run("targeted", f"{_TINY_ZOO} --num_images=3 --targeted --variance=0 --variance=1e-4", 0.5),
    ),
    "cpu": (common.UNTARGETED, common.TARGETED, common.ON_CIFAR10),
    "paper": tuple(
      Run(
        f"{prefix}{name}", f"blackbox_attacks --dataset={data} {flag}{_VARIANCES} {_PAPER}", minutes
      )
      for data, prefix, minutes in (("mnist", "", 200), ("cifar10", "cifar10_", 900))
      for name, flag in (("untargeted", ""), ("targeted", "--targeted "))
    ),
  },
  (
    Claim(
      "success at variance 1e-4, untargeted (Table 3)",
      success("untargeted", strength=1e-4),
      0.01,
      success("untargeted", strength=0.0),
      "lower",
    ),
    Claim(
      "success at variance 1e-4, targeted (Table 3)",
      success("targeted", strength=1e-4),
      0.0,
      success("targeted", strength=0.0),
      "lower",
    ),
    Claim(
      "success at variance 1e-6, untargeted",
      success("untargeted", strength=1e-6),
      None,
      success("untargeted", strength=0.0),
      "lower",
    ),
  ),
)

_SAMPLES = "--num_samples=1 --num_samples=10 --num_samples=50 --num_samples=100"
FIGURE_3 = Row(
  "figure3",
  "ZOO at sigma = 1, averaging k answers, with Adam and with Newton's solver",
  "Newton's solver lets the averaging attacker succeed; Adam does not.",
  {
    "tiny": tuple(
      Run(
        solver,
        f"{_TINY_ZOO} --solver={solver} --num_images=3 --variance=1 --num_samples=1 "
        "--num_samples=10",
        0.6,
      )
      for solver in ("adam", "newton")
    ),
    "cpu": tuple(
      Run(
        solver,
        f"blackbox_attacks --flagfile=experiments/flagfiles/figure3_{solver}.flags "
        "--slots_per_device=50",
        40,
        f"figure3_mnist/{solver}_50",
      )
      for solver in ("adam", "newton")
    ),
    "paper": tuple(
      Run(
        solver,
        f"blackbox_attacks --dataset=mnist --solver={solver} --variance=1 {_SAMPLES} {_PAPER} "
        "--max_steps=6000 --max_queries=2000000000",
        2000,
      )
      for solver in ("adam", "newton")
    ),
  },
  (
    Claim(
      "success with Newton's solver, averaging 10",
      success("newton", num_samples=10),
      None,
      success("adam", num_samples=10),
      "higher",
    ),
  ),
)

FIGURE_12 = Row(
  "figure12",
  "ZOO averaging k answers",
  "Averaging does not raise the success of the black-box attacker.",
  {
    "tiny": (
      Run(
        "untargeted",
        f"{_TINY_ZOO} --num_images=3 --variance=1e-4 --variance=1e-2 --num_samples=10 "
        "--num_samples=50",
        0.7,
      ),
    ),
    "cpu": (
      Run(
        "untargeted",
        "blackbox_attacks --flagfile=experiments/flagfiles/figure12.flags --slots_per_device=50",
        60,
        "figure12_mnist/untargeted_50",
      ),
    ),
    "paper": tuple(
      Run(
        name,
        f"blackbox_attacks --dataset=mnist {flag}--variance=1e-6 --variance=1e-4 --variance=1e-2 "
        f"{_SAMPLES} {_PAPER} --max_steps=6000 --max_queries=2000000000",
        3000,
      )
      for name, flag in (("untargeted", ""), ("targeted", "--targeted "))
    ),
  },
  (
    Claim(
      "success at variance 1e-4, averaging 50",
      success("untargeted", strength=1e-4, num_samples=50),
      0.0,
    ),
  ),
)

TABLE_1 = Row(
  "table1",
  "ZOO, QL and Bandits on ImageNet",
  "Noise stops all three; ZOO at 1e-4 already, QL and Bandits at 1e-2.",
  {
    "tiny": tuple(
      Run(
        attack,
        f"blackbox_attacks --attack={attack} --num_images=4 --max_queries={queries} --variance=0 "
        "--variance=1e-4 --variance=1e-2 --variance=5.76e-2",
        0.6,
      )
      for attack, queries in (("zoo", 4000), ("ql", 1500), ("bandits", 1500))
    ),
    "cpu": tuple(
      Run(
        attack,
        f"blackbox_attacks --flagfile=experiments/flagfiles/table1_{attack}.flags {_MOBILENET}",
        30,
        f"table1_imagenet/{attack}",
      )
      for attack in paper.TABLE_1
    ),
    "paper": tuple(
      Run(
        attack,
        f"blackbox_attacks --dataset=imagenet2012 --attack={attack} --variance=0 --variance=1e-4 "
        f"--variance=1e-2 --variance=5.76e-2 {_PAPER} {_MOBILENET}",
        minutes,
      )
      for attack, minutes in (("zoo", 30_000), ("ql", 600), ("bandits", 600))
    ),
  },
  tuple(
    Claim(
      f"success of {attack} at variance {variance:g}",
      success(attack, strength=float(variance)),
      number,
      success(attack, strength=0.0) if variance else None,
      "lower" if variance else None,
    )
    for attack, numbers in paper.TABLE_1.items()
    for variance, number in numbers.items()
  ),
)

ROWS = (FIGURE_2, FIGURE_3, FIGURE_12, TABLE_1)
