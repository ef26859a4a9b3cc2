"""Two attacks on the same images: by how much one of them does better."""

from scipy import special


def paired_interval(
  num_first: int, num_second: int, num_pairs: int, error: float = 0.05
) -> tuple[float, float]:
  """Limits of P(only the first succeeds) - P(only the second does), at any number of pairs.

  It is q (2 p - 1), with q the share of pairs in which the two differ and p the first's share
  of those, which McNemar's exact test compares with a half. Each limit is made of exact ones
  (Clopper and Pearson) of q and of p, with half of the error each; so it lies above 0 where
  that test finds a difference with half of the error.

  Args:
    num_first: pairs in which only the first succeeds.
    num_second: in which only the second does.
    num_pairs: all pairs; in the others both succeed or neither does.
    error: probability that the true difference is below the lower limit, at most, and
      likewise above the upper one; divide it by the number of comparisons where the best of
      several is believed.

  Returns:
    The lower and the upper limit, in [-1, 1].

  Raises:
    ValueError: there are not so many pairs, or the error is no probability below a half.
  """
  if not (min(num_first, num_second) >= 0 and 0 < num_pairs >= num_first + num_second):
    raise ValueError(
      f"{num_first} and {num_second} pairs differ of {num_pairs}: pass counts of the same pairs"
    )
  if not 0 < error < 0.5:
    raise ValueError(f"error must be above 0 and below a half, not {error}: pass 0.05 for 95 %")
  limits = num_pairs, error / 2
  return -_upper(num_second, num_first, *limits), _upper(num_first, num_second, *limits)


def _upper(num_first, num_second, num_pairs, error):
  """The upper limit of the difference, with an error for each of its two parts."""
  differ = num_first + num_second
  excess = 2 * _largest_share(num_first, differ, error) - 1
  if excess > 0:
    return excess * _largest_share(differ, num_pairs, error)
  return excess * (1 - _largest_share(num_pairs - differ, num_pairs, error))


def _largest_share(count, total, error):
  """Clopper and Pearson's upper limit of a share: there so few are seen with `error`."""
  return 1.0 if count == total else float(special.betaincinv(count + 1, total - count, 1 - error))
