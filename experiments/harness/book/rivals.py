"""Figures and the table that compare noise on the output with rival defenses."""

from harness.book import on_mnist
from harness.book.evidence import accuracy
from harness.book.evidence import success
from harness.book.rows import Claim
from harness.book.rows import Row
from harness.book.rows import Run

_TINY_ZOO = "blackbox_attacks --trade_off=3 --binary_search_steps=1 --max_steps=60 --num_images=3"
_PAPER = "--num_images=100 --num_runs=30"
_MOBILENET = "--model=experiments/examples/mobilenet.py:mobilenet_075_224"
# sigma^2 of both: the paper plots self-ensembling against one variance, here in all layers.
_VARIANCES = (1e-4, 1e-2, 5.76e-2)


def _stddev(variance):
  return f"{variance**0.5:g}"


def _self_ensembling(zoo, noisy, minutes):
  """Output noise swept on one network, and a network of self-ensembling for each variance."""
  swept = " ".join(f"--variance={variance:g}" for variance in (0, *_VARIANCES))
  return (
    Run("output_noise", f"{zoo} {swept}", minutes),
    *(
      Run(
        f"rse_{variance:g}",
        f"{zoo} --trained_with=rse --stddev={_stddev(variance)}{noisy}",
        minutes,
      )
      for variance in _VARIANCES
    ),
  )


_RSE = {
  "tiny": _self_ensembling(_TINY_ZOO, " --num_epochs=20", 0.7),
  "paper": _self_ensembling(f"blackbox_attacks --dataset=cifar10 {_PAPER}", "", 900),
}
_NOT_RUN = {"cpu": "four networks of CIFAR10 are to be trained, about three hours each on one core"}
_STRONGEST = _VARIANCES[-1]

FIGURE_10 = Row(
  "figure10",
  "ZOO's success against output noise and against random self-ensembling (RSE), CIFAR10",
  "Even at the highest variance output noise thwarts the attack better.",
  {
    scale: tuple(run._replace(folder=f"figure10/{run.name}") for run in runs)
    for scale, runs in _RSE.items()
  },
  tuple(
    Claim(
      f"success against output noise of variance {variance:g}, beside self-ensembling",
      success("output_noise", strength=variance),
      None,
      success(f"rse_{variance:g}"),
      "lower",
    )
    for variance in _VARIANCES
  ),
  _NOT_RUN,
)
FIGURE_11 = Row(
  "figure11",
  "Accuracy through output noise and of random self-ensembling, CIFAR10",
  "Self-ensembling trades accuracy for robustness at a higher rate.",
  FIGURE_10.runs,
  tuple(
    Claim(
      f"accuracy through output noise of variance {variance:g}, beside self-ensembling",
      accuracy("output_noise", strength=variance),
      None,
      accuracy(f"rse_{variance:g}"),
      "higher",
    )
    for variance in _VARIANCES
  ),
  _NOT_RUN,
)

_KINDS = (("untargeted", ""), ("targeted", " --targeted"))


# A distilled network's probabilities are flat in float32: ZOO's code attacks its logits.
_DISTILLED = " --trained_with=distillation --answers=logits --objective=margin"


def _distillation(zoo, data, minutes, trained=""):
  distilled, plain = f"{_DISTILLED}{trained}", " --variance=0 --variance=1e-4"
  return tuple(
    Run(f"{data}_{name}_{kind}", f"{zoo}{flag}{others}", minutes)
    for kind, flag in _KINDS
    for name, others in (("distilled", distilled), ("plain", plain))
  )


# What was run so: the plain network is Figure 2's.
_MNIST = (
  "blackbox_attacks --dataset=mnist --num_images=20 --binary_search_steps=1 --slots_per_device=4"
)
_STUDENT = f"{_MNIST}{_DISTILLED} --num_epochs=12 --defense=none"
_ON_MNIST = (
  Run("mnist_plain_untargeted", on_mnist.UNTARGETED.line, 20, "headline_mnist/zoo"),
  Run("mnist_plain_targeted", on_mnist.TARGETED.line, 20, "figure2_mnist/targeted"),
  Run(
    "mnist_distilled_untargeted",
    f"{_STUDENT} --trade_off=0.03",
    10,
    "table3_mnist/distilled_untargeted",
  ),
  Run(
    "mnist_distilled_targeted",
    f"{_STUDENT} --trade_off=0.1 --targeted",
    10,
    "table3_mnist/distilled_targeted",
  ),
)

TABLE_3 = Row(
  "table3",
  "ZOO against defensive distillation, random resizing (Xie et al.) and output noise",
  "Distillation does not stop the attack, random resizing little, output noise does.",
  {
    "tiny": (
      # At a temperature of 100 the few steps of digits teach nothing.
      *_distillation(_TINY_ZOO, "mnist", 0.8, " --temperature=5"),
      Run("xie", f"{_TINY_ZOO} --defense=resize_pad --strength=0 --strength=2", 0.6),
    ),
    "cpu": _ON_MNIST,
    "paper": (
      *_distillation(f"blackbox_attacks --dataset=mnist {_PAPER}", "mnist", 300),
      *_distillation(f"blackbox_attacks --dataset=cifar10 {_PAPER}", "cifar10", 1800),
      Run(
        "xie",
        f"blackbox_attacks --dataset=imagenet2012 {_MOBILENET} --defense=resize_pad --strength=0 "
        f"--strength=21 {_PAPER}",
        30_000,
      ),
    ),
  },
  (
    *(
      Claim(
        f"{data.upper()}, {kind}: success against {text}",
        success(f"{data}_{name}_{kind}", strength=strength),
        number,
        success(f"{data}_plain_{kind}", strength=0.0) if name == "plain" else None,
        "lower" if name == "plain" else None,
      )
      for data, kind, distilled, noise in (
        ("mnist", "targeted", 1.0, 0.0),
        ("mnist", "untargeted", 0.99, 0.01),
        ("cifar10", "targeted", 1.0, 0.011),
        ("cifar10", "untargeted", 1.0, 0.19),
      )
      for name, text, strength, number in (
        ("distilled", "distillation", 0.0, distilled),
        ("plain", "output noise of variance 1e-4", 1e-4, noise),
      )
    ),
    Claim(
      "ImageNet, untargeted: success against random resizing", success("xie", strength=21.0), 0.76
    ),
  ),
  {"cpu": "CIFAR10 and ImageNet are to be run; only MNIST is here"},
)

ROWS = (FIGURE_10, FIGURE_11, TABLE_3)
