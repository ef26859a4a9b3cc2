"""Figures about Carlini and Wagner's attack through noisy answers."""

from harness.book.evidence import success
from harness.book.rows import Claim
from harness.book.rows import Row
from harness.book.rows import Run

_TINY = "whitebox_attacks --attack=carlini_wagner --max_steps=100 --binary_search_steps=2"
_SAMPLES = "--num_samples=1 --num_samples=10 --num_samples=50 --num_samples=100"
_PAPER = "--num_images=100 --num_runs=30"
_UNBOUNDED = "--max_queries=2000000000"

FIGURE_5 = Row(
  "figure5",
  "C&W through the noise, against its variance",
  "Noise is not effective against a white-box attacker at small variances.",
  {
    "tiny": (
      Run(
        "untargeted", f"{_TINY} --num_images=10 --variance=0 --variance=1e-4 --variance=1e-2", 0.4
      ),
    ),
    "cpu": (
      Run(
        "untargeted",
        "whitebox_attacks --flagfile=experiments/flagfiles/figure5.flags --slots_per_device=100",
        36,
        "figure5_mnist/untargeted_100",
      ),
    ),
    "paper": tuple(
      Run(
        f"{prefix}{name}",
        f"whitebox_attacks --attack=carlini_wagner --dataset={data} {flag}--variance=0 "
        f"--variance=1e-4 --variance=1e-2 --variance=5.76e-2 {_PAPER}",
        120,
      )
      for data, prefix in (("mnist", ""), ("cifar10", "cifar10_"))
      for name, flag in (("untargeted", ""), ("targeted", "--targeted "))
    ),
  },
  (
    Claim(
      "success at variance 1e-2",
      success("untargeted", strength=1e-2),
      None,
      success("untargeted", strength=0.0),
      "lower",
    ),
  ),
)

FIGURE_6 = Row(
  "figure6",
  "C&W averaging k answers through the noise",
  "Averaging lets the white-box attacker overcome the noise.",
  {
    "tiny": (
      Run(
        "untargeted",
        f"{_TINY} --num_images=10 --variance=1e-2 --num_samples=1 --num_samples=50",
        0.6,
      ),
    ),
    "cpu": (
      Run(
        "untargeted",
        "whitebox_attacks --flagfile=experiments/flagfiles/figure6.flags",
        7,
        "figure6_mnist/untargeted",
      ),
    ),
    "paper": tuple(
      Run(
        f"{prefix}{name}",
        f"whitebox_attacks --attack=carlini_wagner --dataset={data} {flag}--variance=1e-4 "
        f"--variance=1e-2 --variance=5.76e-2 {_SAMPLES} {_PAPER} {_UNBOUNDED}",
        600,
      )
      for data, prefix in (("mnist", ""), ("cifar10", "cifar10_"))
      for name, flag in (("untargeted", ""), ("targeted", "--targeted "))
    ),
  },
  (
    Claim(
      "success at variance 1e-2, averaging 50",
      success("untargeted", strength=1e-2, num_samples=50),
      None,
      success("untargeted", strength=1e-2, num_samples=1),
      "higher",
    ),
  ),
)


def _after_training(name, title, data, cpu):
  """Figures 14 and 15: the network trained with noise beside the one without."""
  return Row(
    name,
    f"{title}: C&W through noise of variance 0.01, on a network trained with it and one without",
    "Training with the noise significantly lowers the success of the attack.",
    {
      "tiny": (
        Run("undefended", f"{_TINY} --num_images=10 --variance=1e-2 --num_samples=10", 0.5),
        Run(
          "or0.1",
          f"{_TINY} --num_images=10 --variance=1e-2 --num_samples=10 --trained_with=or "
          "--stddev=0.1",
          0.8,
        ),
      ),
      "cpu": cpu,
      "paper": tuple(
        Run(
          run,
          f"whitebox_attacks --attack=carlini_wagner --dataset={data} {flags}--variance=1e-2 "
          f"{_SAMPLES} {_PAPER} {_UNBOUNDED}",
          600,
        )
        for run, flags in (("undefended", ""), ("or0.1", "--trained_with=or --stddev=0.1 "))
      ),
    },
    (
      Claim(
        "success on the network trained with noise, averaging 10",
        success("or0.1", num_samples=10),
        None,
        success("undefended", num_samples=10),
        "lower",
      ),
    ),
  )


def _committed(figure, data, extra=""):
  return tuple(
    Run(
      run,
      f"whitebox_attacks --flagfile=experiments/flagfiles/{figure}.flags {extra}--num_epochs=50"
      f"{flags}",
      60,
      f"{figure}_{data}/{run}",
    )
    for run, flags in (("undefended", ""), ("or0.1", " --trained_with=or --stddev=0.1"))
  )


FIGURE_14 = _after_training("figure14", "MNIST", "mnist", _committed("figure14", "mnist"))
FIGURE_15 = _after_training(
  "figure15", "CIFAR10", "cifar10", _committed("figure15", "cifar10", "--num_images=60 ")
)
FIGURE_16 = Row(
  "figure16",
  "Figures 14 and 15 in one: both data sets, averaging or not",
  "The effect is that of Figure 14: training with noise increases the resistance to averaging.",
  {
    scale: tuple(
      run._replace(name=f"{run.name}_{row.name}", folder=run.folder or f"{row.name}/{run.name}")
      for row in (FIGURE_14, FIGURE_15)
      for run in row.runs[scale]
    )
    for scale in ("tiny", "cpu", "paper")
  },
  tuple(
    Claim(
      f"success on the network trained with noise, one answer ({data})",
      success(f"or0.1_{figure}", num_samples=1),
      None,
      success(f"undefended_{figure}", num_samples=1),
      "lower",
    )
    for figure, data in (("figure14", "MNIST"), ("figure15", "CIFAR10"))
  ),
)

ROWS = (FIGURE_5, FIGURE_6, FIGURE_14, FIGURE_15, FIGURE_16)
