"""Which strength of a defense costs how much accuracy: by bisection, on laws that are known."""

import numpy as np
import pytest

from harness.studies import strengths
from orjax import records
from orjax.threats import Defense

_NUM_IMAGES = 100_000


def _defense(default, whole=False, most=np.inf):
  def settings(strength):
    if strength > most or strength < 0 or (whole and strength != int(strength)):
      raise ValueError("no such strength")
    return {"number": strength}

  return Defense("a defense", lambda oracle, setting: oracle, settings, "axis", default)


def _costing(law):
  """Images lost and gained where a strength costs `law(strength)` of the accuracy."""
  return lambda strength: (round(law(strength) * _NUM_IMAGES) + 50, 50)


@pytest.mark.parametrize(
  "default, law, expected",
  [
    ((0.0, 1e-3, 1e-2), lambda s: 2 * s, 0.005),
    ((0.0, 1e-6), lambda s: s / 10, 0.1),  # far beyond the sweep
    ((10.0, 3.0, 1.0), lambda s: 0.02 / s**2, np.sqrt(2)),  # a small strength is a strong one
    ((100.0, 50.0), lambda s: 0.04 / s, 4.0),
  ],
)
def test_the_strength_that_costs_so_much_lies_in_its_interval(default, law, expected):
  found = strengths.calibrate(_costing(law), _defense(default), _NUM_IMAGES, 0.01)
  assert found["strength"] == pytest.approx(expected, rel=2e-3)
  assert found["drop"] == pytest.approx(0.01, rel=2e-3)
  ends = sorted(found["interval"])
  assert ends[0] < expected < ends[1]
  # The ends are where the paired interval of the drop begins and ends to hold 0.01.
  limits = [records.paired_interval(*_costing(law)(end), _NUM_IMAGES) for end in found["interval"]]
  assert limits[0][1] == pytest.approx(0.01, rel=0.01)
  assert limits[1][0] == pytest.approx(0.01, rel=0.01)


def test_whole_strengths_are_whole():
  defense = _defense((8.0, 4.0), whole=True)
  found = strengths.calibrate(_costing(lambda s: 0.04 / s), defense, _NUM_IMAGES, 0.0101)
  assert found["strength"] == 4.0 and found["interval"] == [5.0, 3.0]
  assert found["drop"] == pytest.approx(0.01)


@pytest.mark.parametrize(
  "defense, law, message",
  [
    (_defense((0.0, 1.0)), lambda s: 0.0, "even at strength 1.04858e.06 it costs 0.0000"),
    (_defense((0.0, 1.0), most=1.5), lambda s: s / 1000, "even at strength 1 it costs 0.0010"),
    (
      _defense((0.0, 1.0, 2.0), whole=True),
      lambda s: s / 50,
      "already at strength 1 it costs 0.0200",
    ),
    (_defense((1.0,)), lambda s: 0.5, "even its weakest strength, 1, costs 0.5000"),
  ],
)
def test_what_cannot_be_calibrated_is_said(defense, law, message):
  with pytest.raises(strengths.NoSuchStrengthError, match=message):
    strengths.calibrate(_costing(law), defense, _NUM_IMAGES, 0.01)


def test_what_float32_cannot_answer_is_no_strength():
  def changed(strength):
    if strength > 4:
      raise FloatingPointError
    return _costing(lambda s: s / 1000)(strength)

  with pytest.raises(strengths.NoSuchStrengthError, match="even at strength 4 it costs 0.0040"):
    strengths.calibrate(changed, _defense((0.0, 1.0)), _NUM_IMAGES, 0.01)
