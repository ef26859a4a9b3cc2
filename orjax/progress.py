"""Progress of long work: a tqdm bar on a terminal, one line a minute otherwise."""

import sys
import time

import tqdm

_SECONDS_PER_LINE = 60.0


class Progress:
  """Counts finished units out of `total`, with free text behind; a context manager."""

  def __init__(self, total: int, *, initial: int = 0, unit: str = "it", label: str = ""):
    self._terminal = sys.stderr.isatty()
    self._bar = tqdm.tqdm(
      total=total,
      initial=initial,
      unit=unit,
      desc=label,
      disable=not self._terminal,
      leave=False,
      dynamic_ncols=True,
    )
    self._label, self._unit = label, unit
    self._initial, self._done, self._total = initial, initial, total
    self._start = self._last_line = time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._bar.close()

  def update(self, num_done: int, text: str = "") -> None:
    """Adds `num_done` finished units and shows `text`."""
    self._done += num_done
    if self._terminal:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(num_done)
      self._bar.refresh()
      return
    now = time.monotonic()
    if now - self._last_line < _SECONDS_PER_LINE:
      return
    self._last_line = now
    finished = self._done - self._initial
    eta = (now - self._start) / finished * (self._total - self._done) if finished else None
    print(
      f"{self._label}: {self._done}/{self._total} {self._unit}, {text}, "
      f"{now - self._start:.0f} s gone, ETA "
      f"{'-' if eta is None else f'{eta:.0f} s'}",
      file=sys.stderr,
      flush=True,
    )
