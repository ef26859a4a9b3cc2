"""ZOO on the published networks: runs that several rows share."""

from harness.book.rows import Run

# The records are a GPU's, which has other numbers of slots by default.
_VARIANCES = " ".join(
  f"--variance={x}"
  for x in ("0", "1e-8", "1e-7", "1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "5.76e-2")
)
UNTARGETED = Run(
  "untargeted",
  f"blackbox_attacks --dataset=mnist --binary_search_steps=1 {_VARIANCES} --num_images=100 "
  "--trade_off=3 --slots_per_device=64",
  150,
  "figure2_mnist/untargeted_100",
)
TARGETED = Run(
  "targeted",
  f"blackbox_attacks --dataset=mnist --binary_search_steps=1 {_VARIANCES} --num_images=50 "
  "--trade_off=10 --targeted --slots_per_device=50",
  110,
  "figure2_mnist/targeted_50",
)
ZOO_ON_CIFAR10 = (
  "blackbox_attacks --dataset=cifar10 --num_images=20 --trade_off=0.5 --binary_search_steps=1"
)
ON_CIFAR10 = Run(
  "cifar10",
  f"{ZOO_ON_CIFAR10} --variance=0 --variance=0.0001 --variance=0.01 --variance=0.0576 "
  "--slots_per_device=10",
  70,
  "figure10_cifar10/output_noise",
)
