"""What a model outside JAX is asked, and what that costs: estimated before, told after."""

from typing import NamedTuple

from orjax.host import Endpoint

_DRAWS = 100  # of the engine's verdict, for each of two images


class Asked(NamedTuple):
  """Rows and requests so far."""

  num_rows: int
  num_requests: int


def now(endpoints: tuple[Endpoint, ...]) -> Asked:
  """What these models were asked until now."""
  return Asked(sum(x.num_rows for x in endpoints), sum(x.num_requests for x in endpoints))


def estimate(num_trials: int, num_queries: int, price_per_1000: float | None) -> str:
  """What is still asked at most, before it is.

  Args:
    num_trials: that are left; each has a verdict of fresh answers.
    num_queries: of all their attacks together, at most.
    price_per_1000: of rows.
  """
  verdicts = num_trials * (2 * _DRAWS + 2)
  return (
    f"--host_model will be sent at most {num_queries + verdicts:,} rows: {num_queries:,} by the "
    f"attacks, {verdicts:,} for verdicts{_price(num_queries + verdicts, price_per_1000)}"
  )


def told(before: Asked, endpoints: tuple[Endpoint, ...], price_per_1000: float | None) -> str:
  """What the models were sent since, failed calls included: what may be billed."""
  after = now(endpoints)
  num_rows = after.num_rows - before.num_rows
  return (
    f"--host_model was sent {num_rows:,} rows in {after.num_requests - before.num_requests:,} "
    f"requests, for the choice of images, the accuracy, attacks and verdicts together"
    f"{_price(num_rows, price_per_1000)}"
  )


def _price(num_rows, price_per_1000):
  return "" if price_per_1000 is None else f"; that costs {num_rows * price_per_1000 / 1000:,.2f}"
