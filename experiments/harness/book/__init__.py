"""The book: every figure and table of the paper, beside what came of it."""

from harness.book import black_box
from harness.book import differences
from harness.book import rivals
from harness.book import theory
from harness.book import training
from harness.book import white_box
from harness.book.rows import Row
from harness.book.rows import Run
from harness.book.rows import SCALES

__all__ = ["ROWS", "SCALES", "Row", "Run"]

_ALL = (
  *theory.ROWS,
  *black_box.ROWS,
  *differences.ROWS,
  *white_box.ROWS,
  *rivals.ROWS,
  *training.ROWS,
)


def _order(row):
  kind = next(i for i, x in enumerate(("figure", "calibration", "table")) if row.name.startswith(x))
  digits = "".join(x for x in row.name if x.isdigit())
  return kind, int(digits or 0)


# In the paper's order: figures, section 5.1, tables.
ROWS = tuple(sorted(_ALL, key=_order))
