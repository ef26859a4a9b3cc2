"""How many trials an attack main does, what it keeps of them, and how fast: its options."""

from harness import app
from harness import request
from harness.request import Option

SIZE = (
  Option(
    "num_images",
    "integer",
    20,
    "correctly classified test images to attack",
    request.HOW_MUCH,
    low=1,
  ),
  Option("num_runs", "integer", 1, "repeats of every attack", request.HOW_MUCH, low=1, high=10**6),
  app.SEED,
)
OUTPUT = (
  Option(
    "num_pictures",
    "integer",
    4,
    "images of the first run kept for pictures.png",
    request.OUTPUT,
    science=False,
    low=0,
  ),
  Option(
    "trace",
    "integer",
    0,
    "images whose loss at every step is written to traces.json",
    request.OUTPUT,
    science=False,
    low=0,
  ),
)
# The number of slots is the shape of the network's batch, on which rounding may depend, so a
# folder keeps to one; any number of devices and any chunk give the same bits.
SLOTS = Option(
  "slots_per_device",
  "integer",
  None,
  "trials at a time on each device; what fills it by "
  "default; a folder of records keeps to one value",
  request.SPEED,
  low=1,
  high=2**20,
)
SPEED = (
  SLOTS,
  Option(
    "chunk", "integer", 50, "attack steps between two looks", request.SPEED, science=False, low=1
  ),
)
