"""Models, flags and settings that cannot be what they should: one sentence, before any work."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import defenses
from harness import request
from harness.classifiers import users
from orjax import oracles

_MODELS = """
import jax
import jax.numpy as jnp
import numpy as np

W = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
shape = 4, 4, 1


def logits(weights, images):
  return images.reshape(len(images), -1) @ weights


def good():
  return logits, W, shape, 3


def ends_with_a_softmax():
  return lambda v, x: jax.nn.softmax(logits(v, x)), W, shape, 3


def uses_numpy():
  return lambda v, x: np.asarray(x).reshape(len(x), -1) @ v, W, shape, 3


def branches_on_values():
  return lambda v, x: logits(v, x) if x.sum() > 0 else logits(v, -x), W, shape, 3


def has_a_word():
  return lambda v, x: logits(v["weights"], x), {"weights": W, "about": "linear"}, shape, 3


def is_an_object():
  return lambda v, x: logits(W, x), object(), shape, 3


def divides_by_zero():
  return lambda v, x: 1 / 0, W, shape, 3


def answers_nothing():
  return lambda v, x: None, W, shape, 3


def has_other_classes():
  return logits, W, shape, 7


def has_one_size():
  return logits, W, 64, 3


def has_a_negative_size():
  return logits, W, (4, -4, 1), 3


def has_words_for_classes():
  return logits, W, shape, "three"


def lacks_a_part():
  return logits, W, shape
"""

_BROKEN = {
  "ends_with_a_softmax": "apply answers probabilities, .*: leave its softmax out",
  "uses_numpy": "apply fails .*: write it with jax.numpy, or pass its like in NumPy to --host",
  "branches_on_values": "apply fails .*: write it with jax.numpy",
  "has_a_word": r"variables\['about'\] is of type str: convert it",
  "is_an_object": "variables is of type object: convert it",
  "divides_by_zero": "apply fails on images of shape .*: division by zero",
  "answers_nothing": r"must return float32 logits of shape \(2, 3\) .*, not None",
  "has_other_classes": r"must return float32 logits of shape \(2, 7\)",
  "has_one_size": r"image_shape must be \(H, W, C\) .*, not 64",
  "has_a_negative_size": r"image_shape must be \(H, W, C\)",
  "has_words_for_classes": "num_classes a number, .* 'three'",
  "lacks_a_part": r"must return \(apply, variables, image_shape, num_classes\)",
}


def _model(path, name):
  path.write_text(_MODELS)
  value = f"{path}:{name}"
  return users.from_jax_model(value, users.jax_model(value, None), None)


@pytest.mark.parametrize("name", _BROKEN)
def test_a_model_that_is_none_is_one_sentence(name, tmp_path):
  with pytest.raises(ValueError, match=_BROKEN[name]) as found:
    _model(tmp_path / "mine.py", name)
  text = str(found.value)
  assert text.startswith("--model") and "\n" not in text and len(text) < 400, text


def test_a_model_that_is_one_answers_probabilities(tmp_path):
  model = _model(tmp_path / "mine.py", "good")
  images = jnp.full((2, 4, 4, 1), 0.5, jnp.float32)
  answers = model.clean(model.variables).query(jax.random.key(0), images)
  np.testing.assert_allclose(answers.sum(-1), 1, rtol=1e-6)


@pytest.mark.parametrize(
  "answers, is_told",
  [([[0.1, 0.9]], False), ([[-0.4, 1.4]], False), ([[0.0, 93.0]], True), ([[-7.5, 2.0]], True)],
)
def test_answers_far_from_probabilities_are_told_once(answers, is_told, caplog):
  oracle = oracles.from_host(lambda images: np.array(answers), 2)
  for _ in range(2):
    oracle.query(jax.random.key(0), np.zeros((1, 2, 2, 1), np.float32))
  assert len(caplog.records) == is_told
  assert not is_told or "let it answer probabilities" in caplog.text


def test_a_flagfile_that_is_no_text_is_told(tmp_path):
  path = tmp_path / "my.flags"
  path.write_bytes(b"--seed=1\n\xff\xfe\n")
  with pytest.raises(ValueError, match=f"--flagfile={path} is no text: pass a file with a flag"):
    request.parse([], ["main.py", f"--flagfile={path}"])


@pytest.mark.parametrize("variance", [1e300, 1e80])
def test_a_strength_beyond_float32_is_the_flags_fault(variance):
  asked = defenses.DefenseRequest("output_noise", [0.0, variance])
  with pytest.raises(ValueError, match="its stddev is .*, which is no finite number of float32"):
    defenses.load(asked)


_MAIN = """
from harness import app

def main(asked):
  import jax
  print(jax.random.normal(jax.random.split(jax.random.key(1))[1], (3,)).tolist())

app.run([], lambda values: None, main)
"""


def test_the_environment_changes_no_random_number_and_a_cache_is_not_needed(tmp_path):
  (tmp_path / "main.py").write_text(_MAIN)
  (tmp_path / "file").touch()
  started = [
    subprocess.Popen(
      [sys.executable, "main.py", f"--compilation_cache={cache}"],
      cwd=tmp_path,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for cache, environment in (
      ("", {}),
      ("", {"JAX_DEFAULT_PRNG_IMPL": "rbg"}),
      (tmp_path / "file", {"JAX_THREEFRY_PARTITIONABLE": "0"}),
    )
  ]
  (usual, *others), errors = zip(*(process.communicate() for process in started))
  assert usual.startswith("[") and others == [usual, usual]
  assert errors[:2] == ("", "")
  assert errors[2].startswith("warning: compiled programs are not kept: cannot write to ")
  assert errors[2].count("\n") == 1 and "--compilation_cache" in errors[2]
