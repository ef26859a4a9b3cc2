"""Random resizing and padding to the image's own size (Xie et al.)."""

import functools

from orjax import defenses

DEFENSE = functools.partial(defenses.resize_pad, size=None)
