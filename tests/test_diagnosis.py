"""--diagnose: models whose gradients are masked, and such as are not; what it asks them."""

import functools
import json

import jax
import jax.numpy as jnp
import mains
import my_model
import numpy as np
import pytest

from harness import attacks
from harness import cells
from harness import distilled
from harness import sweep
from harness.attacks import gradient_free
from harness.classifiers.model import from_jax
from harness.recipes import DISTILLED
from harness.recipes import Recipe
from harness.report import verdict
from orjax import datasets
from orjax import defenses
from orjax import engine
from orjax import models
from orjax import objectives
from orjax import records
from orjax.engine import trials
from orjax.threats import Defense
from orjax.types import Example

_RADIUS = 0.2  # of the attacks on digits
_NUM_IMAGES = 40
_NUM_QUERIES = 200
_FLAGS = ("--attack=pgd", "--diagnose", "--num_pictures=0")

# What is put around a linear classifier of digits, and whether that masks.
_PLAIN = {"levels": 0, "turned": 0, "scale": 1, "softmax": 0, "trained": 0}
_MODELS = {
  "undefended": (_PLAIN, False),
  "trained against attacks": ({**_PLAIN, "trained": 1}, False),
  "16 grey levels": ({**_PLAIN, "levels": 15}, True),
  "a hidden layer, rounded to fifths": ({**_PLAIN, "levels": 5, "turned": 1}, True),
  "logits so far apart that float32's softmax is one-hot": ({**_PLAIN, "scale": 1e4}, True),
  "a softmax of those for logits": ({**_PLAIN, "scale": 1e4, "softmax": 1}, True),
}


@functools.cache
def _trained():
  """Weights [64, 10] and bias [10] after training against one step of the gradient's sign."""
  train = datasets.load("digits", "train")
  images = jnp.asarray(datasets.to_float(train.images).reshape(-1, 64))
  labels = jax.nn.one_hot(train.labels, 10)

  def loss(variables, images):
    logits = images @ variables[0] + variables[1][None]
    return -(labels * jax.nn.log_softmax(logits)).sum(-1).mean()

  def step(variables, _):
    worse = jnp.clip(images + _RADIUS * jnp.sign(jax.grad(loss, 1)(variables, images)), 0, 1)
    gradient = jax.grad(loss)(variables, worse)
    return jax.tree.map(lambda x, slope: x - 0.5 * slope, variables, gradient), None

  start = jnp.zeros((64, 10)), jnp.zeros(10)
  found = jax.jit(lambda x: jax.lax.scan(step, x, length=300)[0])(start)
  return jax.tree.map(np.asarray, found)


def _turn():
  """A hidden layer [64, 64] of which no neuron is a pixel."""
  return np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]


def _around(oracle, setting):
  """The oracle of one of `_MODELS`; all are one program."""
  turn, eye, trained = _turn(), np.eye(64), _trained()

  def query(key, images):
    as_images = lambda x: jnp.asarray(x, images.dtype)
    numbers = {name: as_images(x) for name, x in setting.items()}
    basis = jnp.where(numbers["turned"] > 0, as_images(turn), as_images(eye))
    hidden = images.reshape(len(images), -1) @ basis
    rounded = jnp.round(hidden * numbers["levels"]) / jnp.maximum(numbers["levels"], 1)
    pixels = jnp.where(numbers["levels"] > 0, rounded, hidden) @ basis.T
    plain = oracle.query(key, pixels.reshape(images.shape))
    robust = pixels @ as_images(trained[0]) + as_images(trained[1])[None]
    logits = numbers["scale"] * jnp.where(numbers["trained"] > 0, robust, plain)
    return jnp.where(numbers["softmax"] > 0, jax.nn.softmax(logits), logits)

  return oracle._replace(query=query)


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
  """(verdicts by model, records, folder) of one sweep over all of `_MODELS`."""
  folder = tmp_path_factory.mktemp("diagnosed")
  settings = [setting for setting, _ in _MODELS.values()]
  defense = Defense("around", _around, lambda strength: settings[int(strength)])
  with pytest.MonkeyPatch.context() as patched:
    # PGD sees logits, before which the mains put no defense.
    patched.setattr(sweep.defenses, "load", lambda asked: (defense, list(range(len(_MODELS)))))
    mains.run(
      "whitebox_attacks",
      *_FLAGS,
      f"--model={mains.ROOT}/experiments/examples/my_model.py:factory",
      f"--num_images={_NUM_IMAGES}",
      f"--diagnose_queries={_NUM_QUERIES}",
      f"--out={folder}",
    )
  sentences = dict(zip(_MODELS, verdict.verdict(folder).splitlines()))
  return sentences, records.read(str(folder)), folder


@pytest.mark.parametrize("model", _MODELS)
def test_what_takes_the_gradient_away_is_masked_and_nothing_else(diagnosed, model):
  _, is_masked = _MODELS[model]
  assert (": Masked: PGD(Xent) leaves" in diagnosed[0][model]) == is_masked, diagnosed[0][model]


def test_a_model_that_falls_is_not_even_undecided(diagnosed):
  assert ": Not masked: PGD(Xent) leaves" in diagnosed[0]["undefended"], diagnosed[0]


def test_every_search_stays_in_the_ball_and_in_its_budget(diagnosed):
  _, found, folder = diagnosed
  assert len(found) == 13 * len(_MODELS) * _NUM_IMAGES
  assert max(record["linf"] for record in found) <= _RADIUS + 1e-6
  most = dict.fromkeys(("square", "rays", "smoothed"), 0)
  for record in found:
    search = record["setting"].get("search")
    if search:
      most[search] = max(most[search], record["num_queries"])
  # The smoothed gradient takes ten steps, and judges itself at each and at the end.
  assert most == {"square": _NUM_QUERIES, "rays": _NUM_QUERIES, "smoothed": 11 * (2 * 10 + 1)}
  manifest = json.loads((folder / "manifest.json").read_text())["request"]
  assert manifest["substitutes"].keys() == {"distilled"}
  assert manifest["diagnose_queries"] == _NUM_QUERIES


def _planned(recipe, *flags, random=False, computes_float64=True):
  """(the attacks that --diagnose tries on a victim, the request)."""
  asked = mains.asked("whitebox_attacks", *_FLAGS, *flags).attack
  victim = attacks.Victim(
    recipe, random, lambda: computes_float64, lambda recipe: f"{recipe.network} twin"
  )
  return attacks.plan(asked, victim), asked


def _names(variants):
  """What attacks, whose gradients, and whether in float64; numbers that are not PGD's own."""
  return [
    (
      v.setting.get("search", v.setting["loss"]),
      v.setting["substitute"],
      {"float64": True} if v.float64 else {},
      {k: x for k, x in zip(("steps", "restarts"), (v.setting["steps"], v.setting["restarts"]))
       if x not in (1, 10)},
      v.num_samples,
    )
    for v in variants
  ]  # fmt: skip


def test_what_is_tried_on_a_network_trained_with_noise():
  found, _ = _planned(Recipe("convnet", "or", 100.0))
  assert _names(found) == [
    ("xent", None, {}, {}, 1),
    ("cw", None, {}, {}, 1),
    ("dlr", None, {}, {}, 1),
    ("xent_by_stddev", None, {}, {}, 1),
    ("xent_by_margin", None, {}, {}, 1),
    ("xent", None, {"float64": True}, {}, 1),
    ("square", None, {}, {"steps": 1000}, 1),
    ("rays", None, {}, {"steps": 1000}, 1),
    ("smoothed", None, {}, {"steps": 20}, 1),
    ("cw", "distilled twin", {}, {}, 1),
    ("cw", "convnet twin", {}, {}, 1),
    ("xent", None, {}, {}, 1),
    ("xent", None, {}, {"steps": 40}, 1),
    ("xent", None, {}, {"steps": 200}, 1),
    ("xent_by_margin", None, {}, {"steps": 200}, 1),
  ]
  # As many starts as there are other attacks, so that a union of theirs is no advantage.
  assert found[11].setting["restarts"] == 10
  assert [v.substitute for v in found[9:11]] == [DISTILLED, Recipe("convnet")]
  assert len({str(v.setting) for v in found}) == len(found)


def test_what_is_tried_on_a_users_model_in_float32(capsys):
  found, _ = _planned(None, computes_float64=False)
  assert not any(v.float64 for v in found) and "float64 is left out" in capsys.readouterr().out
  assert {v.substitute for v in found} == {None, DISTILLED}
  # PGD of forty steps anyway is tried once.
  names = [v.setting["steps"] for v in _planned(None, "--max_steps=40")[0]]
  assert names.count(40) == len(names) - 5


def test_a_random_network_is_asked_for_averages_and_never_for_one_lucky_label():
  """Every program is traced as the engine would, behind noise inside the network."""
  recipe = Recipe("convnet", "or", 0.1, "every")
  found, asked = _planned(recipe, "--diagnose_queries=20", random=True)
  names = [(name, num_samples) for name, *_, num_samples in _names(found)]
  assert {("xent", 20), ("cw", 20), ("square", 20), ("smoothed", 1)} <= set(names)
  assert not {"rays", "xent_by_stddev"} & {name for name, _ in names}
  assert not any(v.float64 or v.setting["restarts"] > 1 for v in found)
  network = models.build("convnet_digits", noise_location="every", noise_stddev=0.1)
  model = from_jax(
    network.apply,
    network.init(jax.random.key(0)),
    (8, 8, 1),
    10,
    "noisy",
    apply_noisy=network.apply_noisy,
  )
  common = cells.Attacked(
    "digits",
    model,
    np.zeros((1, 8, 8, 1), np.float32),
    np.zeros(1, int),
    np.zeros(1, int),
    defenses.inner_noise(),
    [0.1],
    asked,
    1,
    0,
    None,
  )
  example = Example(jnp.zeros((8, 8, 1)), jnp.int32(0))
  for variant in found:
    cell = cells.cell(common, variant, dict.fromkeys(variant.others, model))
    oracle = cell.threats.asked(cell.variables, engine.inputs(cell.tasks[0]).setting)
    asked_a_step = trials.queries_per_step(variant.attack, oracle, example)
    smoothed = variant.setting.get("search") == "smoothed"
    assert asked_a_step == (3 if smoothed else variant.num_samples), variant.setting


def test_what_a_search_claims_beside_the_ball_is_not_its_success(diagnosed):
  """RayS goes on from far away: what it hands in after its last query is of the ball."""
  rays = [r for r in diagnosed[1] if r["setting"].get("search") == "rays"]
  failed = [r for r in rays if not r["claimed"]]
  assert failed and max(r["linf"] for r in failed) > _RADIUS - 1e-6
  agree = [r["claimed"] == (r["defended_success_rate"] > 0.5) for r in rays]
  assert np.mean(agree) > 0.95


def test_blind_gradients_learn_nothing_and_searches_do(diagnosed):
  """Of the images that are rounded: what the other attacks find is in every one's reach."""
  place = list(_MODELS).index("16 grey levels")
  found = [r for r in diagnosed[1] if r["strength"] == place]
  rate = lambda chosen: np.mean([r["defended_success_rate"] for r in chosen])
  own = [r for r in found if "search" not in r["setting"] and not r["setting"]["substitute"]]
  assert np.mean([r["zero_gradients"] for r in own]) > 0.95 and rate(own) < 0.05
  for search in ("square", "rays", "smoothed"):
    assert rate([r for r in found if r["setting"].get("search") == search]) > 0.3


def test_a_twin_learns_a_model_that_has_no_gradient():
  """It answers as the model does on images that it never saw; from scratch it does not."""
  apply, variables, image_shape, num_classes = my_model.factory()
  steps = lambda variables, x: 1e4 * apply(variables, jnp.round(15 * x) / 15)
  model = from_jax(steps, variables, image_shape, num_classes, "steps")
  test, train = (datasets.load("digits", split) for split in ("test", "train"))
  twin = distilled.load(model, test.images, radius=_RADIUS, seed=0, rows_per_call=None)
  unseen = jnp.asarray(datasets.to_float(train.images))
  named = steps(model.variables, unseen).argmax(-1)
  agreement = lambda variables: np.mean(distilled.apply(variables, unseen).argmax(-1) == named)
  untaught = distilled.init(jax.random.key(0), image_shape, num_classes)
  assert agreement(twin.variables) > 0.88 > 0.5 > agreement(untaught)
  slopes = jax.grad(lambda x: distilled.apply(twin.variables, x).max(-1).sum())(unseen[:20])
  assert (slopes != 0).any((1, 2, 3)).all()
  assert twin.name == "distilled" and model.fingerprint in twin.fingerprint


@pytest.mark.parametrize("image_shape", [(1, 1, 1), (3, 40, 2), (224, 224, 3)])
def test_a_twin_takes_images_of_any_shape(image_shape):
  variables = distilled.init(jax.random.key(0), image_shape, 3)
  images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  assert jax.eval_shape(distilled.apply, variables, images).shape == (2, 3)
  assert sum(x.size for x in jax.tree.leaves(variables)) < 300_000


@pytest.mark.parametrize(
  ("usual", "num_queries", "steps"), [(10, 200, 10), (10, 1000, 20), (40, 960, 40), (40, 7, 40)]
)
def test_a_smoothed_gradient_takes_as_many_steps_as_pgd_or_more(usual, num_queries, steps):
  assert gradient_free.num_steps("smoothed", usual, num_queries) == steps
  assert gradient_free.num_steps("rays", usual, num_queries) == num_queries


def test_its_flags_need_it():
  with pytest.raises(ValueError, match="--diagnose_queries needs --diagnose: leave it out"):
    mains.run("whitebox_attacks", "--attack=pgd", "--diagnose_queries=5")
  with pytest.raises(ValueError, match="there is no search 'gradient': choose one of square"):
    gradient_free.build(
      "gradient",
      objectives.dlr(),
      radius=0.1,
      step_size=0.1,
      usual_steps=1,
      num_queries=1,
      stop_at_success=True,
    )
