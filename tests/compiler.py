"""How XLA compiles in tests, whose time is mostly its own: as fast as it can."""

import importlib.metadata

# The lowest level compiles six times faster.
_FLAGS = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
  # Its older generator of code takes half the time of the newer one. Fused multiply-adds, which it
  # puts where a program happens to have both in one loop, would round other programs otherwise.
  _FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_max_isa=AVX"]


def flags(num_devices: int) -> str:
  """XLA's flags for so many devices."""
  return " ".join([*_FLAGS, f"--xla_force_host_platform_device_count={num_devices}"])
