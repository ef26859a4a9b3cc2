"""Published networks: what was published is attacked, to the bit, or a sentence says why not."""

import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from harness import recipes
from harness.classifiers import published
from harness.classifiers import trained
from harness.recipes import Recipe
from orjax import checkpoints
from orjax import datasets
from orjax import evaluation
from orjax import files
from orjax import networks
from orjax import records

_ALL = sorted(published.FOLDER.glob("*.safetensors"))
_VARIABLES = {"params": {"dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}}}
_CARD = {"model": "small", "num_steps": 3, "test_accuracy": 0.5}


@pytest.fixture
def small(tmp_path):
  networks.publish(tmp_path / "small.safetensors", _VARIABLES, _CARD)
  return tmp_path / "small.safetensors"


@pytest.fixture
def shelf(digits_model, tmp_path, monkeypatch):
  """A folder of published networks with the 330 steps of `digits_model`."""
  monkeypatch.setattr(published, "FOLDER", tmp_path / "networks")
  saved = checkpoints.load(str(digits_model[2]))
  published.publish(tmp_path / "networks", Recipe(), saved, lambda variables: np.nan)
  return tmp_path / "networks" / "convnet_digits.safetensors"


def _load(folder, *flags, recipe=None, **more):
  asked = mains.asked("blackbox_attacks", f"--model_dir={folder}", *flags)
  return functools.partial(
    trained.load,
    str(folder),
    asked.images,
    recipe or asked.classifier.recipe,
    asked.classifier.training,
    0,
    None,
    network_file=asked.classifier.network_file,
    retrain=asked.classifier.retrain,
    **more,
  )


def _never_trains(monkeypatch):
  def fail(*args):
    raise AssertionError("it trains")

  monkeypatch.setattr(trained, "train", fail)


def test_what_is_loaded_is_what_was_published(small):
  found = networks.load(small, jax.eval_shape(lambda: _VARIABLES))
  jax.tree.map(np.testing.assert_array_equal, found.state, _VARIABLES)
  assert found.meta == {**_CARD, "fingerprint": checkpoints.fingerprint(_VARIABLES)}


def test_another_networks_parameters_are_refused(small):
  others = {"params": {"dense": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(4)}}}
  with pytest.raises(ValueError, match="another network: its params.dense.bias has shape"):
    networks.load(small, others)
  with pytest.raises(ValueError, match=r"params.dense.more has shape None, not \(1,\)"):
    networks.load(
      small, {"params": {"dense": {**_VARIABLES["params"]["dense"], "more": jnp.ones(1)}}}
    )


def test_a_changed_parameter_is_found_by_the_card(small):
  content = bytearray(small.read_bytes())
  content[-1] ^= 1
  small.write_bytes(content)
  with pytest.raises(files.Damaged, match="its parameters are not those of small.json"):
    networks.load(small, _VARIABLES)


def test_damaged_and_missing_files_are_told(small):
  card = small.with_suffix(".json")
  text = card.read_text()
  card.write_text(text.replace("0.5", "0.9"))
  with pytest.raises(files.Damaged, match="changed after it was written"):
    networks.load(small, _VARIABLES)
  card.unlink()
  with pytest.raises(FileNotFoundError, match=r"no file .*small.json: fetch it and its card again"):
    networks.load(small, _VARIABLES)
  card.write_text(text)
  small.write_bytes(small.read_bytes()[:20])
  with pytest.raises(files.Damaged, match="fetch it and its card again, or train the network"):
    networks.load(small, _VARIABLES)
  with pytest.raises(ValueError, match=r"is no .safetensors file"):
    networks.load(card, _VARIABLES)


def test_only_float32_and_json_are_published(tmp_path):
  with pytest.raises(ValueError, match="x is of type int32: published parameters are float32"):
    networks.publish(tmp_path / "x.safetensors", {"x": jnp.arange(3)}, {})
  with pytest.raises(ValueError, match="is nan"):
    networks.publish(tmp_path / "x.safetensors", _VARIABLES, {"accuracy": float("nan")})
  assert not list(tmp_path.iterdir())


def test_a_network_of_half_floats_takes_half_the_bytes_and_loses_nothing(tmp_path):
  fine = {"x": jnp.linspace(-2, 2, 999)}
  rounded = networks.rounded(fine)
  np.testing.assert_allclose(rounded["x"], fine["x"], rtol=5e-4)
  assert (rounded["x"] != fine["x"]).any() and rounded["x"].dtype == np.float32
  sizes = {}
  for name, variables in (("fine", fine), ("rounded", rounded)):
    path = tmp_path / f"{name}.safetensors"
    networks.publish(path, variables, _CARD)
    np.testing.assert_array_equal(networks.load(path, fine).state["x"], variables["x"])
    sizes[name] = path.stat().st_size
  assert sizes["fine"] - sizes["rounded"] > 999 * 1.9
  with pytest.raises(ValueError, match="a parameter is beyond 65504"):
    networks.rounded({"x": jnp.array([1e5])})


def test_a_large_network_is_rounded_and_measured_again(digits_model, tmp_path, monkeypatch):
  monkeypatch.setattr(published, "_LARGEST", 1000)
  saved = checkpoints.load(str(digits_model[2]))
  asked = mains.asked("train_classifier").images
  measure = functools.partial(trained.accuracy, asked, Recipe())
  path = published.publish(tmp_path, Recipe(), saved, measure)
  card = networks.card_of(path)
  assert card["rounded_to"] == "float16"
  assert card["test_accuracy"] == pytest.approx(saved.meta["test_accuracy"], abs=0.01)
  found = networks.load(path, digits_model[1]).state
  jax.tree.map(np.testing.assert_array_equal, found, networks.rounded(digits_model[1]))


def test_a_substitute_is_published_by_its_own_name(digits_model, tmp_path):
  saved = checkpoints.load(str(digits_model[2]))
  recipe = mains.asked("train_classifier", "--substitute").recipe
  assert recipe == recipes.substitute(Recipe(), 0)
  with pytest.raises(ValueError, match="--substitute is of networks that attacks begin on"):
    mains.asked("train_classifier", "--substitute", "--trained_with=pgd")
  named = saved._replace(meta={**saved.meta, "model": "convnet_digits-substitute"})
  path = published.publish(tmp_path, recipe, named, lambda variables: np.nan)
  asked = mains.asked("train_classifier").images
  assert recipes.name(asked, Recipe(**networks.card_of(path)["recipe"])) == path.stem


def test_the_published_network_is_attacked_instead_of_training(
  shelf, digits_model, tmp_path, monkeypatch, capsys
):
  _never_trains(monkeypatch)
  for flags in ((), ("--num_steps=330",), ("--num_epochs=30",), ("--seed=5",)):
    found = _load(tmp_path / "none", *flags)()
    own = _load(digits_model[2].parent, "--retrain")()
    assert found.fingerprint == own.fingerprint and found.training["num_steps"] == 330
    assert f"convnet_digits as published in {shelf}: test acc" in capsys.readouterr().out
  assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
  "flags", [("--num_steps=20",), ("--num_epochs=2",), ("--batch_size=64",), ("--retrain",)]
)
def test_another_training_that_is_asked_for_is_done(shelf, tmp_path, monkeypatch, flags):
  asked = []
  monkeypatch.setattr(trained, "train", lambda *args: asked.append(args) or 1 / 0)
  with pytest.raises(ZeroDivisionError):
    _load(tmp_path / "none", *flags)()
  assert len(asked) == 1


def test_a_recipe_that_was_not_published_is_trained(shelf, tmp_path, monkeypatch):
  _never_trains(monkeypatch)
  for recipe in (Recipe(trained_with="or", stddev=1.0), Recipe(substitute=True)):
    with pytest.raises(AssertionError, match="it trains"):
      _load(tmp_path / "none", recipe=recipe)()


def test_ones_own_network_comes_before_the_published(shelf, digits_model, tmp_path, monkeypatch):
  _never_trains(monkeypatch)
  networks.publish(shelf, _VARIABLES, networks.card_of(shelf))
  assert _load(digits_model[2].parent)().training["num_steps"] == 330
  with pytest.raises(ValueError, match="is of another network"):
    _load(tmp_path / "none")()


def test_a_network_file_is_taken_and_says_whose_it_is(shelf, digits_model, tmp_path):
  elsewhere = tmp_path / "mine.safetensors"
  for suffix in (".safetensors", ".json"):
    shutil.move(shelf.with_suffix(suffix), elsewhere.with_suffix(suffix))
  found = _load(tmp_path / "none", f"--network_file={elsewhere}")()
  assert found.fingerprint == _load(digits_model[2].parent, "--retrain")().fingerprint
  with pytest.raises(ValueError, match="is convnet_digits, not convnet_digits-or1: pass the flags"):
    _load(tmp_path / "none", f"--network_file={elsewhere}", "--trained_with=or", "--stddev=1")()
  with pytest.raises(FileNotFoundError, match="there is no file .*absent"):
    _load(tmp_path / "none", f"--network_file={tmp_path / 'absent.safetensors'}")()


@pytest.mark.parametrize("flag", ["--num_steps=20", "--retrain", "--bfloat16"])
def test_a_network_file_and_a_training_are_refused(flag):
  with pytest.raises(ValueError, match=f"{flag.split('=')[0]} is about training, and --network_fi"):
    mains.asked("blackbox_attacks", "--network_file=x.safetensors", flag)


def test_the_main_publishes_and_the_attack_repeats_its_records(digits_model, tmp_path, monkeypatch):
  models, shelf = tmp_path / "models", tmp_path / "shelf"
  train = ("--num_steps=330", f"--model_dir={models}")
  shutil.copytree(digits_model[2].parent, models)
  mains.run("train_classifier", *train, f"--publish={shelf}")
  monkeypatch.setattr(published, "FOLDER", shelf)
  attack = ("--num_images=2", "--variance=0", "--max_queries=600", "--num_pictures=0")
  mains.run("blackbox_attacks", *attack, f"--out={tmp_path / 'own'}", f"--model_dir={models}")
  away = f"--model_dir={tmp_path / 'away'}"
  mains.run("blackbox_attacks", *attack, f"--out={tmp_path / 'published'}", away)
  assert records.read(tmp_path / "own") == records.read(tmp_path / "published")
  manifests = [records.read_manifest(tmp_path / x)["request"] for x in ("own", "published")]
  assert manifests[0] == manifests[1]


def test_the_shelf_is_small():
  sizes = [path.stat().st_size for path in _ALL]
  assert all(size <= 4e6 for size in sizes) and sum(sizes) <= 40e6


def test_the_list_of_the_shelf_is_that_of_the_cards():
  cards = [networks.card_of(path) for path in _ALL]
  lines = [
    f"| {card['model']} | {card['num_steps']:,} of {card['batch_size']} | "
    f"{card['test_accuracy']:.4f} | {card['device']} |"
    for card in cards
  ]
  said = (published.FOLDER / "README.md").read_text().splitlines()
  assert [line for line in said if line.startswith("| convnet_") or "resnet" in line[:9]] == lines


@pytest.mark.parametrize("path", _ALL, ids=lambda path: path.stem)
def test_a_published_network_is_what_its_card_says(path):
  card = networks.card_of(path)
  recipe = Recipe(**card["recipe"])
  asked = mains.asked("blackbox_attacks", f"--dataset={card['dataset']}").images
  assert recipes.name(asked, recipe) == path.stem == card["model"]
  network = trained.classifier(asked, recipe)
  saved = networks.load(path, jax.eval_shape(network.init, jax.random.key(0)))
  assert {"seed", "num_steps", "batch_size", "device"} <= card.keys()
  try:
    test = datasets.load(card["dataset"], "test", pathlib.Path(asked.data_dir).expanduser())
  except (OSError, ValueError) as e:
    pytest.skip(f"{card['dataset']} is not here: {e}")
  some = datasets.Dataset(*(x[:500] for x in test))
  found = evaluation.accuracy(trained.at_test_time(network, recipe), saved.state, some)
  spread = 4 * (card["test_accuracy"] * (1 - card["test_accuracy"]) / 500) ** 0.5 + 1e-3
  assert abs(found - card["test_accuracy"]) < spread
