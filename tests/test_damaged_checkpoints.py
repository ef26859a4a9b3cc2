"""A damaged checkpoint is one sentence, and nothing is told beside it."""

import json
import sys

import numpy as np
import pytest

from orjax import checkpoints


@pytest.mark.parametrize("part", ["d/*", "*/d/*", "**/manifest.ocdbt"])
def test_a_damaged_load_tells_nothing_but_its_sentence(part, tmp_path, monkeypatch):
  weights = {f"layer{i}": np.random.default_rng(i).normal(size=(99, 99)) for i in range(9)}
  checkpoints.save(str(tmp_path), weights, {"num_steps": 1})
  told = []
  for name in ("excepthook", "unraisablehook"):
    monkeypatch.setattr(sys, name, lambda *args: told.append(args))
  damaged = list((tmp_path / "1" / "state").glob(part))
  assert damaged
  for path in damaged:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
  with pytest.raises(ValueError, match="is damaged"):
    checkpoints.load(str(tmp_path))
  assert not told


@pytest.mark.parametrize(
  "change",
  [
    {"init_timestamp_nsecs": 1.5},
    {"unheard_of": 1, "custom_metadata": {"a": 1}},
    {"item_handlers": 3},
  ],
  ids=lambda change: next(iter(change)),
)
def test_a_step_whose_own_description_is_broken_is_damaged(change, tmp_path):
  checkpoints.save(str(tmp_path), {"a": np.arange(3.0)}, {"num_steps": 1})
  (description,) = tmp_path.glob("1/_CHECKPOINT_METADATA")
  description.write_text(json.dumps(json.loads(description.read_text()) | change))
  with pytest.raises(ValueError, match=rf"{tmp_path}.* is damaged") as told:
    checkpoints.load(str(tmp_path))
  assert "\n" not in str(told.value)
