"""What a server does to the image before its classifier sees it."""

import jax
import jax.numpy as jnp

from orjax.defenses.rows import check_range
from orjax.defenses.rows import check_strength
from orjax.defenses.rows import gaussian
from orjax.defenses.rows import row_keys
from orjax.defenses.rows import whole
from orjax.factories import factory
from orjax.threats import Defense
from orjax.types import Oracle

ROUNDINGS = ("round", "floor")

_LARGEST_SIDE = 2**16  # of an image


def with_input_noise(oracle: Oracle, stddev: jax.Array, *, clip: bool = True) -> Oracle:
  """Random Noise Defense: answers for a noisy image, p(clip(x + stddev eps)), eps ~ N(0, I).

  The noise is fresh for every row of every query, drawn from a key of the row's own.

  The user gets the answer to an image nearby, a probability distribution; his label changes
  where the image is near a boundary in the direction of the noise.

  It is noise on the loss of stddev |gradient| stddev, to first order: an attacker whose
  smoothing or step is larger than `stddev` hardly sees it, and averaging undoes it at the
  square root of the queries.

  Args:
    oracle: what is defended.
    stddev: in units of the [0, 1] range; may be traced.
    clip: whether the noisy image is brought back into [0, 1]; published code does either.

  Returns:
    An `Oracle`, a pure function of the key; with stddev 0 it answers exactly what `oracle`
    does of images in [0, 1].

  References:
    Qin et al. (2021), Random Noise Defense: 0.02, and 0.05 for networks trained with noise
    or robustly; Byun et al. (2022), Small Noise Defense (arXiv 2101.04829): 0.01.
  """

  def query(key, images):
    inner_key, noise_key = jax.random.split(key)
    noise = jax.vmap(lambda key: gaussian(key, images.shape[1:], images.dtype))(
      row_keys(noise_key, len(images))
    )
    noisy = whole(images + whole(jnp.asarray(stddev, images.dtype) * noise))
    return oracle.query(inner_key, jnp.clip(noisy, 0, 1) if clip else noisy)

  return Oracle(query, oracle.queries_per_row)


@factory
def input_noise(*, clip: bool = True) -> Defense:
  """Gaussian noise on the image, swept over its stddev.

  Args:
    clip: as in `with_input_noise`.

  Returns:
    A `Defense`.
  """

  def settings(stddev):
    check_strength("stddev of the pixels", stddev)
    return {"stddev": float(stddev)}

  return Defense(
    "input_noise",
    lambda oracle, setting: with_input_noise(oracle, setting["stddev"], clip=clip),
    settings,
    axis="stddev of the pixels",
    default=(0.0, 0.01, 0.02, 0.05),
  )


def with_uint8(
  oracle: Oracle, levels: jax.Array | float = 255.0, *, rounding: str = "round"
) -> Oracle:
  """Answers for the image in 8 bits, as a file or an upload holds it: round(255 x) / 255.

  It needs no key. The user's image is in 8 bits already. An attacker whose steps are below
  1 / 510 sees no difference at all, and a gradient of exactly 0; with larger steps he sees
  the network again.

  Args:
    oracle: what is defended.
    levels: above black; 255 is 8 bits, 1 is black and white. May be traced.
    rounding: "round", or "floor" as some published code has it.

  Returns:
    An `Oracle`, as random as `oracle` is.

  Raises:
    ValueError: the rounding is unknown.

  References:
    Xu et al. (2018), Feature Squeezing, for fewer levels.
  """
  if rounding not in ROUNDINGS:
    raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
  nearest = jnp.round if rounding == "round" else jnp.floor

  def query(key, images):
    scale = whole(jnp.asarray(levels, images.dtype))  # or a division becomes a product
    return oracle.query(key, nearest(images * scale) / scale)

  return Oracle(query, oracle.queries_per_row)


@factory
def uint8_input(*, rounding: str = "round") -> Defense:
  """The image in few levels, swept over their number; 255 is 8 bits.

  Args:
    rounding: "round" or "floor".

  Returns:
    A `Defense`.

  Raises:
    ValueError: the rounding is unknown.
  """
  if rounding not in ROUNDINGS:
    raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")

  def settings(levels):
    check_range("number of levels", levels, 1, 2**20)
    return {"levels": float(levels)}

  return Defense(
    "uint8_input",
    lambda oracle, setting: with_uint8(oracle, setting["levels"], rounding=rounding),
    settings,
    axis="levels",
    default=(255.0, 31.0, 7.0, 1.0),
  )


def _resized_and_padded(key, image, smallest, size, fill, flip):
  """One image [H, W, C] somewhere on a canvas [size, size, C]."""
  flip_key, side_key, place_key = jax.random.split(key, 3)
  if flip:
    image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
  side = jax.random.randint(side_key, (), smallest, jnp.maximum(size, smallest + 1))
  top, left = jax.random.randint(place_key, (2,), 0, size - side + 1)
  y, x = jnp.arange(size) - top, jnp.arange(size) - left
  height, width, _ = image.shape
  nearest = lambda position, many: jnp.clip(position * many // side, 0, many - 1)
  pixels = image[nearest(y, height)[:, None], nearest(x, width)[None, :]]
  covered = ((y >= 0) & (y < side))[:, None] & ((x >= 0) & (x < side))[None, :]
  return jnp.where(covered[..., None], pixels, jnp.asarray(fill, image.dtype))


def with_resize_pad(
  oracle: Oracle, smallest: jax.Array, *, size: int = 331, fill: float = 0.5, flip: bool = False
) -> Oracle:
  """Randomization of Xie et al.: resizes the image at random and pads it at random.

  To side x side pixels, side uniform among smallest, ..., size - 1, by the nearest
  neighbour; then onto a canvas of size x size at a uniform place. Side, place and flip are
  drawn anew for every row of every query, from a key of the row's own.

  The user gets the answer to a slightly smaller image; the network has to take images of
  that size. Networks with a fixed input take `size` equal to the image's own (28 for
  MNIST), and then see images that are shrunk by a few pixels.

  The mean over the draws is differentiable and as fragile as the network: 30 draws a step
  (EOT) bring the published defense to an accuracy of 0 (Athalye et al. 2018).

  Args:
    oracle: what is defended; its network sees images [size, size, C].
    smallest: side; at `size` or above the side is `size`, and nothing is padded. May be
      traced.
    size: of the canvas.
    fill: of the canvas where the image does not cover it. The published 0 is in [-1, 1],
      which is 0.5 here; for digits on black take 0.
    flip: mirrors half of the images left to right, as the published ensemble does.

  Returns:
    An `Oracle`, a pure function of the key; where `size` is the image's own and `smallest`
    is `size`, without flips, it answers exactly what `oracle` does.

  Raises:
    ValueError: a size below 1.

  References:
    Xie et al. (2018), Mitigating Adversarial Effects Through Randomization. Its code has
    310, ..., 330 on 331 for images of 299, flips, and sums the answers of 30 passes
    (`with_mean`); its paper has 299, ..., 330 and one pass.
  """
  if size < 1:
    raise ValueError(f"the size of the canvas must be at least 1, not {size}")

  def query(key, images):
    inner_key, place_key = jax.random.split(key)
    least = jnp.clip(jnp.asarray(smallest, jnp.float32), 1, size).astype(jnp.int32)
    place = lambda key, image: _resized_and_padded(key, image, least, size, fill, flip)
    return oracle.query(inner_key, jax.vmap(place)(row_keys(place_key, len(images)), images))

  return Oracle(query, oracle.queries_per_row)


@factory
def resize_pad(*, size: int | None = 331, fill: float = 0.5, flip: bool = False) -> Defense:
  """Random resizing and padding, swept over how many pixels smaller an image may become.

  At the strength s the side is uniform among size - s, ..., size - 1, and `size` at 0: for
  images of 299 on a canvas of 331, 21 is the published code and 32 the paper.

  Args:
    size: of the canvas; None is the longer side of each image, for a network with a fixed input.
    fill: as in `with_resize_pad`.
    flip: as in `with_resize_pad`.

  Returns:
    A `Defense`.
  """

  def settings(pixels):
    if not float(pixels).is_integer():
      raise ValueError(f"the number of pixels must be whole, not {pixels}")
    if size is None:
      check_range("number of pixels", pixels, 0, _LARGEST_SIDE)
      return {"fewer": float(pixels)}
    check_range("number of pixels", pixels, 0, size - 1)
    return {"smallest": float(size - pixels)}

  def wrap(oracle, setting):
    if size is not None:
      return with_resize_pad(oracle, setting["smallest"], size=size, fill=fill, flip=flip)

    def query(key, images):
      side = max(images.shape[1:3])
      inner = with_resize_pad(oracle, side - setting["fewer"], size=side, fill=fill, flip=flip)
      return inner.query(key, images)

    return Oracle(query, oracle.queries_per_row)

  few = (0.0, 1.0, 2.0, 3.0)
  default = few[:size] if size is None or size <= 300 else (0.0, 21.0, 32.0)
  return Defense("resize_pad", wrap, settings, axis="pixels of the side", default=default)
