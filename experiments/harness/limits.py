"""What does not fit the memory is refused before any work, with an estimate. No JAX."""

import os
import resource

_BYTES_PER_TRIAL = 2000  # of a task on the host, with its record's first fields


def available_bytes() -> int:
  """Memory that this process may still take; very much where the system does not say."""
  found = [2**62]
  try:
    with open("/proc/meminfo") as file:
      lines = dict(line.split(":", 1) for line in file)
    found.append(int(lines["MemAvailable"].split()[0]) * 1024)
  except (OSError, KeyError, ValueError):
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
      found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
  limit = resource.getrlimit(resource.RLIMIT_AS)[0]
  if limit != resource.RLIM_INFINITY:
    found.append(limit)
  return min(found)


def check_trials(num_trials: int) -> None:
  """Raises ValueError for more trials than can be listed in memory."""
  _check(
    num_trials * _BYTES_PER_TRIAL,
    f"{num_trials} trials",
    "--num_images, --num_runs, --num_samples or the strengths",
  )


def check_slots(slots: int, bytes_per_slot: int) -> None:
  """Raises ValueError for more slots than fit the memory."""
  _check(slots * bytes_per_slot, f"{slots} slots a device", "--slots_per_device")


def _check(wanted, what, flags):
  available = available_bytes()
  if wanted > available:
    raise ValueError(
      f"{what} need about {wanted / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are "
      f"there: lower {flags}"
    )
