"""The zoo of defenses in the mains: every name answers, and blinds no reader."""

import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from harness import defenses
from harness.defenses import DefenseRequest
from orjax import oracles
from orjax import records

_MODEL = f"--model={mains.ROOT / 'experiments' / 'examples' / 'my_model.py'}:factory"
_NAMES = sorted(set(defenses.named()) - {"inner_noise"})  # which needs a place in the network


@pytest.mark.parametrize("name", _NAMES)
def test_every_name_answers_at_its_own_strengths(name):
  defense, strengths = defenses.load(DefenseRequest(name, None))
  assert defense.name == name and strengths and defense.axis
  oracle = oracles.from_predict(linear_predict, linear_variables())
  images = jax.random.uniform(jax.random.key(1), (3, 4, 4, 1))
  for strength in (strengths[0], strengths[-1]):
    setting = {key: jnp.float32(x) for key, x in defense.settings(strength).items()}
    rows = defense.wrap(oracle, setting).query(jax.random.key(0), images)
    assert rows.shape == (3, 3) and rows.dtype == jnp.float32 and np.isfinite(rows).all()


@pytest.mark.parametrize("defense", ["rounded", "label_only"])
def test_answers_without_slopes_are_no_evidence(defense, tmp_path, capsys):
  flags = (_MODEL, f"--defense={defense}", "--strength=1", "--num_images=6", "--num_pictures=0")
  mains.run("blackbox_attacks", *flags, "--attack=zoo", "--max_steps=20", f"--out={tmp_path / 'z'}")
  output = capsys.readouterr().out
  assert "**Blind:** most steps of zoo learnt nothing" in output and "--attack=rays" in output
  mains.run("blackbox_attacks", *flags, "--attack=rays", f"--out={tmp_path / 'rays'}")
  assert "Blind" not in capsys.readouterr().out
  found = records.read(str(tmp_path / "rays"))
  # Of answers rounded to one digit a tie is a success, which the undefended model need not share.
  judged = "clean_success" if defense == "label_only" else "defended_success_rate"
  assert np.mean([record[judged] for record in found]) == 1
  assert max(record["linf"] for record in found) <= 0.3 + 1e-6
