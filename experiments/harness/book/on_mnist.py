"""ZOO on the published network of MNIST: runs that several rows share."""

from harness.book.rows import Run

VARIANCES = "--variance=0 --variance=1e-6 --variance=1e-4 --variance=1e-2 --variance=5.76e-2"
UNTARGETED = Run(
  "untargeted",
  f"blackbox_attacks --dataset=mnist {VARIANCES} --num_images=20 --trade_off=3 "
  "--binary_search_steps=1 --slots_per_device=4",
  20,
  "headline_mnist/zoo",
)
TARGETED = Run(
  "targeted",
  f"blackbox_attacks --dataset=mnist --targeted {VARIANCES} --num_images=20 --trade_off=10 "
  "--binary_search_steps=1 --slots_per_device=4",
  20,
  "figure2_mnist/targeted",
)
