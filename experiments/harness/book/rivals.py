"""Figures and the table that compare noise on the output with rival defenses."""

from harness.book import common
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


def _output_noise(folder, zoo, minutes):
  """Output noise swept on one network."""
  swept = " ".join(f"--variance={variance:g}" for variance in (0, *_VARIANCES))
  return Run("output_noise", f"{zoo} {swept}", minutes, f"{folder}/output_noise")


def _ensembles(folder, zoo, noisy, minutes):
  """A network of self-ensembling for each variance."""
  return tuple(
    Run(
      f"rse_{variance:g}",
      f"{zoo} --trained_with=rse --stddev={_stddev(variance)}{noisy}",
      minutes,
      f"{folder}/rse_{variance:g}",
    )
    for variance in _VARIANCES
  )


_ON_CIFAR10 = "blackbox_attacks --dataset=cifar10"
_IN_THE_PAPER = f"{_ON_CIFAR10} {_PAPER}"
# Ten answers of an ensemble make one.
_TEN = " --ensemble=10"
_RSE = {
  "tiny": (
    _output_noise("figure10", _TINY_ZOO, 0.7),
    *_ensembles("figure10", _TINY_ZOO, " --num_epochs=20", 0.7),
  ),
  # The records are a GPU's, which has other numbers of slots by default.
  "cpu": (
    common.ON_CIFAR10._replace(name="output_noise"),
    *_ensembles("figure10_cifar10", common.ZOO_ON_CIFAR10, f"{_TEN} --slots_per_device=1", 200),
  ),
  "paper": (
    _output_noise("figure10", _IN_THE_PAPER, 900),
    *_ensembles("figure10", _IN_THE_PAPER, _TEN, 9000),
  ),
}

FIGURE_10 = Row(
  "figure10",
  "ZOO's success against output noise and against random self-ensembling (RSE), CIFAR10",
  "Even at the highest variance output noise thwarts the attack better.",
  _RSE,
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


# What was run so: the plain networks are Figure 2's and Figure 10's.
_MNIST = (
  "blackbox_attacks --dataset=mnist --num_images=20 --binary_search_steps=1 --slots_per_device=4"
)
_STUDENT = f"{_MNIST}{_DISTILLED} --num_epochs=12 --defense=none"
_ON_MNIST = (
  common.UNTARGETED._replace(name="mnist_plain_untargeted"),
  common.TARGETED._replace(name="mnist_plain_targeted"),
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
_TAUGHT = f"{_DISTILLED} --defense=none"
_TOWARDS = "--binary_search_steps=3 --targeted"
_CIFAR10 = (
  common.ON_CIFAR10._replace(name="cifar10_plain_untargeted"),
  Run(
    "cifar10_plain_targeted",
    f"{_ON_CIFAR10} --num_images=20 --trade_off=2 {_TOWARDS} --variance=0 --variance=1e-4 "
    "--slots_per_device=5",
    200,
    "table3_cifar10/plain_targeted",
  ),
  Run(
    "cifar10_distilled_untargeted",
    f"{_ON_CIFAR10} --num_images=20 --binary_search_steps=1{_TAUGHT} --trade_off=0.005 "
    "--slots_per_device=3",
    20,
    "table3_cifar10/distilled_untargeted",
  ),
  Run(
    "cifar10_distilled_targeted",
    f"{_ON_CIFAR10} --num_images=15 {_TOWARDS}{_TAUGHT} --trade_off=0.02 --slots_per_device=3",
    110,
    "table3_cifar10/distilled_targeted",
  ),
)
_ON_IMAGENET = (
  f"blackbox_attacks --dataset=imagenet2012 {_MOBILENET} --num_images=10 --max_steps=200 "
  "--check_every=25"
)
_IMAGENET = tuple(
  Run(name, f"{_ON_IMAGENET} {flags} --slots_per_device=10", minutes, f"table3_imagenet/{folder}")
  for name, flags, minutes, folder in (
    ("imagenet_plain", "--defense=none", 50, "undefended"),
    ("xie", "--defense=resize_pad --strength=21", 10, "xie"),
    ("imagenet_noise", "--variance=1e-4", 10, "output_noise"),
  )
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
    "cpu": (*_ON_MNIST, *_CIFAR10, *_IMAGENET),
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
    Claim(
      "ImageNet, untargeted: success against output noise of variance 1e-4",
      success("imagenet_noise", strength=1e-4),
      0.005,
    ),
  ),
)

ROWS = (FIGURE_10, FIGURE_11, TABLE_3)
