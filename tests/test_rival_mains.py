"""The mains on networks trained with rivals of output randomization: names, refusals, attacks."""

import jax
import jax.numpy as jnp
import mains
import numpy as np
import pytest

from harness import classifiers
from harness import defenses as named_defenses
from harness import recipes
from harness.classifiers import trained
from harness.recipes import Recipe
from orjax import checkpoints
from orjax import records
from orjax import training
from orjax.models import convnet


def _recipe(*flags):
  return mains.asked("train_classifier", *flags)


@pytest.mark.parametrize(
  "flags, recipe, name",
  [
    (
      ("--trained_with=rse", "--stddev=0.1"),
      Recipe("convnet", "rse", 0.1, "before"),
      "convnet_digits-rse0.1",
    ),
    (
      ("--trained_with=rse", "--stddev=0.1", "--init_stddev=0.1"),
      Recipe("convnet", "rse", 0.1, "before"),
      "convnet_digits-rse0.1",
    ),
    (
      ("--trained_with=rse", "--stddev=0.1", "--init_stddev=0.2"),
      Recipe("convnet", "rse", 0.1, "before", init_stddev=0.2),
      "convnet_digits-rse0.1-init0.2",
    ),
    (
      ("--trained_with=augmentation", "--stddev=0.25"),
      Recipe("convnet", "augmentation", image_stddev=0.25),
      "convnet_digits-augmentation0.25",
    ),
    (
      ("--trained_with=distillation",),
      Recipe("convnet", "distillation", temperature=100.0),
      "convnet_digits-distillation100",
    ),
    (
      ("--trained_with=distillation", "--temperature=5"),
      Recipe("convnet", "distillation", temperature=5.0),
      "convnet_digits-distillation5",
    ),
    (("--trained_with=or",), Recipe("convnet", "or", 100.0), "convnet_digits-or100"),
    (
      ("--trained_with=pgd+or", "--stddev=2", "--noise_location=first"),
      Recipe("convnet", "pgd+or", 2.0, "first"),
      "convnet_digits-pgd+or2-first",
    ),
    (("--trained_with=pgd",), Recipe("convnet", "pgd"), "convnet_digits-pgd"),
  ],
)
def test_recipes_and_names(flags, recipe, name):
  asked = _recipe(*flags)
  assert asked.recipe == recipe and recipes.name(asked.images, asked.recipe) == name
  assert recipes.name(asked.images, recipe._replace(substitute=True)) == f"{name}-substitute"


@pytest.mark.parametrize(
  "main, flags, message",
  [
    ("train_classifier", ["--trained_with=rse"], "rse needs its noise: pass a --stddev above 0"),
    ("train_classifier", ["--trained_with=rse", "--stddev=0"], "pass a --stddev above 0"),
    ("train_classifier", ["--trained_with=augmentation"], "augmentation needs its noise"),
    ("train_classifier", ["--stddev=1"], "--stddev needs --trained_with=or, rse or augmentation"),
    ("train_classifier", ["--trained_with=pgd", "--stddev=1"], "--stddev needs --trained_with"),
    ("train_classifier", ["--temperature=5"], "--temperature needs --trained_with=distillation"),
    (
      "train_classifier",
      ["--trained_with=distillation", "--temperature=0"],
      "--temperature=0 must be above 0",
    ),
    (
      "train_classifier",
      ["--trained_with=or", "--init_stddev=1"],
      "--init_stddev needs --trained_with=rse",
    ),
    (
      "train_classifier",
      ["--trained_with=rse", "--stddev=1", "--noise_location=every"],
      "--noise_location needs --trained_with=or",
    ),
    (
      "train_classifier",
      ["--dataset=cifar10", "--network=resnet32", "--trained_with=distillation"],
      "a recipe of convnets: leave --network=resnet32 out",
    ),
    ("blackbox_attacks", ["--model=a.py:f", "--temperature=2"], "about networks that orjax trains"),
    ("blackbox_attacks", ["--defense=none", "--ensemble=2"], "--ensemble averages what a random"),
    ("blackbox_attacks", ["--host_model=a.py:f", "--ensemble=2"], "--ensemble averages what"),
    (
      "blackbox_attacks",
      ["--host_model=a.py:f", "--defense=output_noise", "--ensemble=2"],
      "--ensemble averages probabilities of a model in JAX: leave it out",
    ),
    (
      "whitebox_attacks",
      ["--attack=pgd", "--trained_with=rse", "--stddev=1", "--ensemble=2"],
      "--ensemble averages probabilities of a model in JAX",
    ),
    ("blackbox_attacks", ["--answers=logits"], "--answers=logits needs --objective=margin"),
    (
      "blackbox_attacks",
      ["--answers=logits", "--objective=margin", "--defense=output_noise"],
      "works on probabilities, and --answers=logits are logits: leave one out",
    ),
    (
      "blackbox_attacks",
      ["--answers=logits", "--objective=margin", "--host_model=a.py:f"],
      "--host_model is for attacks that only ask: pass a --model in JAX",
    ),
    (
      "whitebox_attacks",
      ["--attack=pgd", "--answers=logits"],
      "--answers is not for --attack=pgd, which sees logits: leave it out",
    ),
    ("blackbox_attacks", ["--ensemble=0"], "--ensemble=0 must be at least 1"),
  ],
)
def test_flags_that_do_not_go_together_are_one_sentence(main, flags, message):
  with pytest.raises(ValueError) as found:
    mains.asked(main, *flags)
  assert message in str(found.value) and "\n" not in str(found.value)


def test_the_defense_of_an_ensemble_is_its_own_noise():
  flags = ("--trained_with=rse", "--stddev=0.1")
  asked = mains.asked("blackbox_attacks", *flags, "--ensemble=10")
  assert asked.defense == ("inner_noise", [0.1], 10) and asked.science["ensemble"] == 10
  defense, strengths = named_defenses.load(asked.defense)
  assert defense.name == "inner_noise_mean10" and strengths == [0.1]
  swept = mains.asked("blackbox_attacks", *flags, "--strength=0", "--strength=0.2")
  assert swept.defense == ("inner_noise", [0, 0.2], 1)
  assert mains.asked("blackbox_attacks").defaults["ensemble"] == 1
  assert mains.asked("whitebox_attacks", "--attack=pgd", *flags).defense.value == "inner_noise"
  for rival in ("--trained_with=distillation", "--trained_with=augmentation --stddev=1"):
    assert mains.asked("blackbox_attacks", *rival.split()).defense.value == "output_noise"


def test_noise_of_the_first_convolution_comes_to_the_network(monkeypatch):
  asked = _recipe("--trained_with=rse", "--stddev=0.1", "--init_stddev=0.2")
  network = trained.classifier(asked.images, asked.recipe)
  variables = jax.eval_shape(network.init, jax.random.key(0))
  added = []
  monkeypatch.setattr(
    convnet, "add_noise", lambda x, keys, layer, stddev: added.append((layer, stddev)) or x
  )
  key, images = jax.random.key(0), jnp.zeros((2, 8, 8, 1))
  jax.eval_shape(network.apply_train, variables, key, images)
  jax.eval_shape(network.apply_noisy, variables, jax.random.split(key, 2), images)
  jax.eval_shape(network.apply, variables, images)
  wanted = [(layer, pytest.approx(0.1 if layer else 0.2)) for layer in range(4)]
  assert added == [*wanted, *wanted], "in training and at test time, not undefended"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("models")


def _attack(folder, out, *flags):
  mains.run(
    "blackbox_attacks",
    f"--model_dir={folder}",
    f"--out={out}",
    "--num_images=2",
    "--num_test_images=60",
    "--max_queries=300",
    "--num_pictures=0",
    *flags,
  )
  return records.read(str(out))


def test_zoo_attacks_a_self_ensemble_through_its_own_noise(folder, tmp_path):
  flags = ("--trained_with=rse", "--stddev=0.1", "--num_steps=20")
  found = _attack(folder, tmp_path / "mean", *flags, "--ensemble=2")
  assert len(found) == 2 and {
    (r["defense"], r["strength"], r["trained_with"], r["model"]) for r in found
  } == {("inner_noise_mean2", 0.1, "rse", "convnet_digits-rse0.1")}
  assert all(r["num_queries"] <= 300 for r in found), "the server's mean is one answer"
  assert records.kept_accuracy(str(tmp_path / "mean")).keys() == {"0.1"}
  with pytest.raises(ValueError, match="ensemble"):
    _attack(folder, tmp_path / "mean", *flags)


def test_a_distilled_network_is_trained_once_and_its_student_is_attacked(folder):
  flags = ("--trained_with=distillation", "--temperature=4", f"--model_dir={folder}")
  mains.run("train_classifier", *flags, "--num_steps=20")
  name = "convnet_digits-distillation4"
  saved = checkpoints.load(folder / name)
  assert saved.meta["temperature"] == 4 and saved.meta["scheduled_steps"] == 20
  assert checkpoints.load(folder / name / training.TEACHER).meta["num_steps"] == 20
  load = lambda asked: classifiers.load(asked.classifier, asked.images, 0)
  found = load(mains.asked("blackbox_attacks", *flags))
  assert (found.name, found.trained_with) == (name, "distillation")
  assert found.fingerprint == checkpoints.fingerprint(saved.state["variables"])
  with pytest.raises(ValueError, match="was trained for 20 steps, not 30"):
    load(mains.asked("blackbox_attacks", *flags, "--num_steps=30"))
  with pytest.raises(ValueError, match="has scheduled_steps=20, not 30"):
    mains.run("train_classifier", *flags, "--num_steps=30")


def test_zoo_is_blind_to_saturated_probabilities_and_sees_logits(digits_model, tmp_path):
  """Logits as large as a distilled network's, of which float32 makes zeros and ones."""
  saved = checkpoints.load(digits_model[2])
  params = saved.state["variables"]["params"]
  params["Dense_2"] = {name: 50 * x for name, x in params["Dense_2"].items()}
  checkpoints.save(tmp_path / "convnet_digits", saved.state, saved.meta)
  blind = {}
  for answers in ("probabilities", "logits"):
    found = _attack(
      tmp_path, tmp_path / answers, f"--answers={answers}", "--objective=margin", "--defense=none"
    )
    blind[answers] = np.mean([record["zero_gradients"] for record in found])
  assert blind["probabilities"] > 0.9 and blind["logits"] < 0.1


def test_augmentation_trains_on_noisy_images_and_answers_without(folder, monkeypatch):
  drawn = []
  make = training.gaussian_noise
  monkeypatch.setattr(
    training, "gaussian_noise", lambda *args, **kw: drawn.append((args, kw)) or make(*args, **kw)
  )
  flags = ("--trained_with=augmentation", "--stddev=0.25", "--num_steps=10", "--batch_size=64")
  mains.run("train_classifier", *flags, f"--model_dir={folder}")
  assert drawn == [((0.25,), {"after": None})]
  asked = mains.asked("blackbox_attacks", *flags, f"--model_dir={folder}")
  model = classifiers.load(asked.classifier, asked.images, 0)
  assert model.trained_with == "augmentation" and model.name == "convnet_digits-augmentation0.25"
  assert model.clean(model.variables).inside is None, "nothing is drawn at test time"
