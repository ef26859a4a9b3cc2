"""What the mains find out about a user's model, defense and server before they attack."""

import jax
import mains
import numpy as np
import pytest

from harness import bill
from harness import probing
from harness.classifiers import users
from orjax import datasets
from orjax import host
from orjax import records

_MODELS = """
import jax
import jax.numpy as jnp
import numpy as np
from my_model import weights_and_bias
from orjax import threats
from orjax.types import Oracle

WEIGHTS, BIAS = weights_and_bias()


def _logits(variables, images):
  return images.reshape(len(images), -1) @ variables["weights"] + BIAS[None]


def _made(apply, **more):
  return apply, {"weights": WEIGHTS, **more}, (8, 8, 1), 10


def batch_norm():
  return _made(lambda v, x: _logits(v, x - x.mean(0, keepdims=True)))


def frozen():
  noise = np.random.default_rng()
  return _made(lambda v, x: _logits(v, x) + noise.normal(size=(1, 10)).astype(np.float32))


def clean():
  return _made(_logits)


def keyed():
  return _made(_logits, key=jax.random.key(0))


def random():
  def apply(variables, keys, images):
    noise = jax.vmap(lambda key: jax.random.normal(key, (10,)))(keys)
    return _logits(variables, images) + noise

  return _made(apply)


def defense():
  noise = np.random.default_rng()

  def wrap(oracle, setting):
    def query(key, images):
      rows = oracle.query(key, images)
      return rows + setting["x"] * noise.normal(size=rows.shape).astype(np.float32)

    return Oracle(query)

  return threats.Defense("numpy", wrap, lambda strength: {"x": strength}, default=(0.0, 1.0))


def plain():
  def fn(images):
    logits = images.reshape(len(images), -1) @ np.asarray(WEIGHTS) + np.asarray(BIAS)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)

  return fn, (8, 8, 1), 10


def noisy():
  noise, (fn, *shape) = np.random.default_rng(0), plain()
  return (lambda x: fn(x) + noise.normal(size=(len(x), 10)) * 0.1), *shape


def large():
  return plain()[0], (8, 9, 1), 10
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  file = tmp_path_factory.mktemp("own") / "probed.py"
  file.write_text(_MODELS)
  return file


_QUICK = ("--attack=ql", "--num_images=2", "--max_queries=102", "--num_pictures=0")


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--model={}:batch_norm"], "--model answers an image differently in other company"),
    (["--model={}:frozen"], "--model answers differently when it is traced again"),
    (["--model={}:plain"], "must return .apply, variables"),
    (["--defense={}:defense"], "--defense answers differently when it is traced again"),
    (["--host_model={0}:plain", "--judge={0}:large"], "--judge is of images .8, 9, 1."),
    (["--host_model={0}:plain", "--judge={0}:clean"], "--judge=.*must return .fn, image_shape"),
  ],
)
def test_what_is_no_function_of_an_image_is_refused(flags, words, path, tmp_path):
  model = [] if "model" in flags[0] else ["--model={}:clean"]
  flags = [flag.format(path) for flag in [*flags, *model]]
  with pytest.raises(ValueError, match=words):
    mains.run("blackbox_attacks", *_QUICK, *flags, f"--out={tmp_path}")
  assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.parametrize("main", ["calibrate"])
def test_calibrate_looks_at_the_model_too(main, path, tmp_path):
  with pytest.raises(ValueError, match="in other company"):
    mains.run(main, f"--model={path}:batch_norm", f"--out={tmp_path}")


@pytest.mark.parametrize("name", ["keyed", "random"])
def test_keys_among_the_variables_and_keys_that_are_taken(name, path, tmp_path):
  with jax.debug_key_reuse(False):  # a variable is no key that is consumed
    mains.run(
      "blackbox_attacks", *_QUICK, "--variance=0", f"--model={path}:{name}", f"--out={tmp_path}"
    )
  assert len(records.read(str(tmp_path))) == 2
  assert users.jax_model(f"{path}:{name}", None).random == (name == "random")


def test_a_random_model_has_no_one_gradient(path, tmp_path):
  with pytest.raises(ValueError, match="--model is random"):
    mains.run("gradient_error", f"--model={path}:random", f"--out={tmp_path}")


def test_a_noisy_server_is_told_judged_and_billed(path, tmp_path, capsys):
  flags = (*_QUICK, "--num_test_images=30", f"--host_model={path}:noisy", f"--out={tmp_path}")
  judge = (f"--judge={path}:plain", "--price_per_1000=2")
  mains.run("blackbox_attacks", *flags, *judge)
  output = capsys.readouterr().out
  assert "the server is random (stddev 0.1" in output and "--judge says what" in output
  assert "at most 608 rows: 204 by the attacks, 404 for verdicts; that costs 1.22" in output
  # 20 looks, 4 of the choice, 30 of the accuracy, two attacks and their verdicts.
  found = records.read(str(tmp_path))
  sent = 20 + 4 + 30 + sum(record["num_queries"] for record in found) + 2 * 202
  assert f"--host_model was sent {sent} rows in" in output
  assert f"that costs {2 * sent / 1000:,.2f}\\n" in output.replace("\n", "\\n")
  # By the judge, who is not random, an untouched image is no success.
  assert all(record["clean_success"] <= record["claimed"] for record in found)
  mains.run("blackbox_attacks", *flags, *judge)
  again = capsys.readouterr().out
  assert "was sent 0 rows in 0 requests" in again and "random" not in again
  with pytest.raises(ValueError, match="judge"):
    mains.run("blackbox_attacks", *flags)


def test_a_server_that_is_not_random_is_told_so(path):
  found = users.host_model(f"{path}:plain")
  model = users.from_host_model("plain", found, None, None)
  test = datasets.load("digits", "test")
  assert probing.about(probing.spread(model, test), False).endswith("the same each time")
  noisy = users.from_host_model("noisy", users.host_model(f"{path}:noisy"), None, None)
  said = probing.about(probing.spread(noisy, test), False)
  assert "it judges itself, by one random answer: pass --judge" in said


def test_the_bill_counts_what_failed():
  calls = []

  def fn(images):
    calls.append(len(images))
    if len(calls) == 1:
      raise ConnectionError("lost")
    return np.full((len(images), 3), 1 / 3)

  patience = host.Patience(sleep=lambda _: None)
  endpoint = host.Endpoint(fn, 3, patience=patience)
  before = bill.now((endpoint,))
  endpoint.ask(np.zeros((5, 4, 4, 1), np.float32))
  assert "sent 10 rows in 2 requests" in bill.told(before, (endpoint,), None)
  assert bill.told(before, (endpoint,), 1000.0).endswith("that costs 10.00")
