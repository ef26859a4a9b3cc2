"""What is done to the image: laws of noise and of places, exact pixels."""

from echo import as_images
from echo import echo_oracle
import jax
import numpy as np
import pytest
from scipy import stats

from orjax import defenses


def _seen(wrap, images, seed=1):
  """The pixels that the network is shown, [B, N]."""
  query = jax.jit(lambda key, images: wrap(echo_oracle()).query(key, images))
  return np.asarray(query(jax.random.key(seed), np.asarray(images, np.float32)))


@pytest.mark.parametrize("stddev", [0.02, 0.05])
def test_noise_on_pixels_has_its_stddev_and_no_other(stddev):
  noise = _seen(
    lambda oracle: defenses.with_input_noise(oracle, stddev), as_images(np.full((800, 9), 0.5))
  ) - np.float32(0.5)
  pvalue = lambda scale: stats.kstest(noise.ravel() / (scale * stddev), stats.norm.cdf).pvalue
  assert pvalue(1) > 1e-3 and pvalue(2 / 3) < 1e-6 and pvalue(3 / 2) < 1e-6
  assert np.abs(np.corrcoef(noise.T) - np.eye(9)).max() < 0.15
  assert np.abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.15


def test_noisy_images_are_clipped_unless_told_otherwise():
  images = as_images(np.tile([0.0, 1.0], (50, 3)))
  clipped = _seen(lambda oracle: defenses.with_input_noise(oracle, 0.1), images)
  free = _seen(lambda oracle: defenses.with_input_noise(oracle, 0.1, clip=False), images)
  assert clipped.min() == 0 and clipped.max() == 1
  assert free.min() < 0 and free.max() > 1
  np.testing.assert_array_equal(np.clip(free, 0, 1), clipped)


def test_eight_bits_are_rounded_or_floored():
  bytes_ = np.arange(256, dtype=np.float32) / np.float32(255)
  jitter = np.concatenate([bytes_, np.clip(bytes_ + 0.7 / 255, 0, 1)])[None]
  for rounding, whole in (("round", np.round), ("floor", np.floor)):
    seen = _seen(lambda oracle: defenses.with_uint8(oracle, rounding=rounding), as_images(jitter))
    np.testing.assert_array_equal(seen, whole(np.float32(jitter) * 255) / np.float32(255))
    np.testing.assert_array_equal(seen[0, :256], bytes_)  # a byte stays what it is
  few = _seen(lambda oracle: defenses.with_uint8(oracle, 1.0), as_images([[0.2, 0.7]]))
  np.testing.assert_array_equal(few, [[0, 1]])
  for make in (defenses.uint8_input, lambda **kwargs: defenses.with_uint8(echo_oracle(), **kwargs)):
    with pytest.raises(ValueError, match="rounding must be"):
      make(rounding="ceil")


def _place(canvas, fill):
  """(side, top, left) of what covers a canvas [N, N] of positive pixels."""
  rows, columns = (np.flatnonzero((canvas != fill).any(axis)) for axis in (1, 0))
  assert len(rows) == len(columns) == rows[-1] - rows[0] + 1
  return len(rows), rows[0], columns[0]


def _nearest(image, side):
  index = [np.arange(side) * size // side for size in image.shape[:2]]
  return image[index[0][:, None], index[1][None]]


@pytest.mark.parametrize(
  "height, size, smallest, num_rows", [(28, 36, 30, 6), (28, 28, 24, 6), (299, 331, 310, 2)]
)
def test_images_are_resized_by_the_nearest_neighbour_and_padded(height, size, smallest, num_rows):
  images = np.random.default_rng(0).uniform(0.6, 1, (num_rows, height, height, 3))
  images = images.astype(np.float32)
  resize = lambda oracle: defenses.with_resize_pad(oracle, smallest, size=size)
  canvases = _seen(resize, images).reshape(num_rows, size, size, 3)
  for image, canvas in zip(images, canvases):
    side, top, left = _place(canvas[..., 0], 0.5)
    assert smallest <= side < size
    inside = canvas[top : top + side, left : left + side]
    np.testing.assert_array_equal(inside, _nearest(image, side))
    np.testing.assert_equal((canvas != 0.5).sum(), inside.size)


def test_sides_and_places_are_uniform():
  images = np.full((6000, 4, 4, 1), 1.0)
  resize = lambda oracle: defenses.with_resize_pad(oracle, 5, size=8, fill=0.0)
  canvases = _seen(resize, images).reshape(-1, 8, 8)
  side, top, left = np.transpose([_place(canvas, 0) for canvas in canvases])
  assert set(side) == {5, 6, 7}
  assert stats.chisquare(np.bincount(side)[5:]).pvalue > 1e-3
  for offset in (top, left):
    for number in (5, 6, 7):
      counts = np.bincount(offset[side == number], minlength=9 - number)
      assert len(counts) == 9 - number and stats.chisquare(counts).pvalue > 1e-3
  assert abs(np.corrcoef(top[side == 5], left[side == 5])[0, 1]) < 0.08


def test_images_that_are_not_square_and_flips():
  image = np.random.default_rng(0).uniform(0.6, 1, (1, 3, 5, 1)).astype(np.float32)
  resize = lambda oracle: defenses.with_resize_pad(oracle, 6, size=6, flip=True)
  canvases = _seen(resize, np.repeat(image, 400, axis=0)).reshape(400, 6, 6, 1)
  kinds = [_nearest(kind, 6) for kind in (image[0], image[0][:, ::-1])]
  flipped = [(canvas == kinds[1]).all() for canvas in canvases]
  assert all((canvas == kinds[int(flip)]).all() for canvas, flip in zip(canvases, flipped))
  assert 150 < sum(flipped) < 250


def test_sizes_of_resizing_follow_from_the_strength():
  defense = defenses.resize_pad()
  assert defense.default == (0.0, 21.0, 32.0)
  assert defense.settings(21.0) == {"smallest": 310.0}
  assert defenses.resize_pad(size=28).settings(4.0) == {"smallest": 24.0}
  images = np.random.default_rng(0).uniform(size=(3, 28, 28, 1)).astype(np.float32)
  at = lambda strength: _seen(
    lambda oracle: defenses.resize_pad(size=28).wrap(
      oracle, defenses.resize_pad(size=28).settings(strength)
    ),
    images,
  )
  np.testing.assert_array_equal(at(0.0), images.reshape(3, -1))
  assert (at(1.0) != images.reshape(3, -1)).any()
  for pixels in (0.5, np.inf, np.nan):
    with pytest.raises(ValueError, match="pixels must be whole"):
      defenses.resize_pad(size=28).settings(pixels)
  own = defenses.resize_pad(size=None)
  assert own.default == defenses.resize_pad(size=28).default
  seen = _seen(lambda oracle: own.wrap(oracle, own.settings(2.0)), images)
  np.testing.assert_array_equal(seen, at(2.0))
  with pytest.raises(ValueError, match="from 0 to 27"):
    defenses.resize_pad(size=28).settings(28.0)
  with pytest.raises(ValueError, match="at least 1"):
    defenses.with_resize_pad(echo_oracle(), 1, size=0)
