"""A stranger's defense, model, data, endpoint and attack, without touching a line of ours."""

import json

import mains
import matplotlib.pyplot as plt
import my_study
import numpy as np
import pytest

from harness import attacks
from harness import defenses
from harness.report import figures
from orjax import records

EXAMPLES = mains.ROOT / "experiments" / "examples"
_QUICK = (
  "--num_images=2",
  "--max_queries=2000",
  "--slots_per_device=4",
  "--num_pictures=2",
  "--num_test_images=200",
)


@pytest.fixture(scope="module")
def models(digits_model):
  return f"--model_dir={digits_model[2].parent}"


@pytest.mark.parametrize("name", ["my_defense", "my_model", "my_endpoint", "my_data"])
def test_an_example_is_short(name):
  assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 30


@pytest.mark.parametrize(
  "main, flags",
  [
    ("blackbox_attacks", ["--attack=ql"]),
    ("whitebox_attacks", ["--max_steps=20", "--binary_search_steps=1"]),
  ],
)
def test_my_defense_runs_with_its_own_axis(models, main, flags, tmp_path, capsys, monkeypatch):
  mains.run(
    main,
    models,
    *_QUICK,
    *flags,
    f"--defense={EXAMPLES / 'my_defense.py'}:factory",
    "--strength=0",
    "--strength=1",
    f"--out={tmp_path}",
  )
  output = capsys.readouterr().out
  assert "| digits of an answer |" in output
  assert "figure2.png" in output and "pictures.png" in output
  found = records.read(str(tmp_path))
  assert {(r["defense"], r["strength"]) for r in found} == {("rounded", 0.0), ("rounded", 1.0)}
  request = json.loads((tmp_path / "manifest.json").read_text())["request"]
  assert request["defense"] == "my_defense:factory" and request["strength"] == [0.0, 1.0]
  drawn = []
  monkeypatch.setattr(plt, "close", drawn.append)
  figures.draw([str(tmp_path)], str(tmp_path / "again"), figure="figure2")
  assert "digits of an answer" in {ax.get_xlabel() for figure in drawn for ax in figure.axes}


def test_my_model_and_my_endpoint_agree(tmp_path, capsys):
  flags = (
    *_QUICK,
    "--attack=ql",
    "--variance=0",
    "--variance=1e-3",
    "--num_images=5",
    "--max_queries=1000",
  )
  for flag, name in (("model", "my_model"), ("host_model", "my_endpoint")):
    mains.run(
      "blackbox_attacks",
      *flags,
      f"--{flag}={EXAMPLES / name}.py:factory",
      f"--out={tmp_path / name}",
    )
  found = [records.read(str(tmp_path / name)) for name in ("my_model", "my_endpoint")]
  key = lambda r: (r["strength"], r["index"])
  first, second = (sorted(part, key=key) for part in found)
  assert len(first) == len(second) == 10
  for name in ("num_queries", "num_steps", "claimed", "clean_success", "index", "target"):
    assert [r[name] for r in first] == [r[name] for r in second], name
  for one, other in zip(first, second):
    assert one["l2"] == pytest.approx(other["l2"], abs=1e-3)
  assert first[0]["model"] == "my_model:factory" and first[0]["trained_with"] is None
  assert second[0]["model"] == "my_endpoint:factory"
  for name in ("my_model", "my_endpoint"):
    assert {"figure2.png", "pictures.png"} <= {path.name for path in (tmp_path / name).iterdir()}


def test_my_model_is_attacked_through_its_gradients(tmp_path):
  flags = ("--variance=0", "--max_steps=20", "--binary_search_steps=1")
  model = f"--model={EXAMPLES / 'my_model'}.py:factory"
  mains.run("whitebox_attacks", *_QUICK, model, *flags, f"--out={tmp_path}")
  assert {r["model"] for r in records.read(str(tmp_path))} == {"my_model:factory"}
  assert (tmp_path / "figure2.png").exists() and (tmp_path / "pictures.png").exists()


def test_a_host_model_has_no_noise_of_ours_by_default(tmp_path):
  mains.run(
    "blackbox_attacks",
    *_QUICK,
    "--attack=ql",
    "--max_queries=200",
    f"--host_model={EXAMPLES / 'my_endpoint.py'}:factory",
    f"--out={tmp_path}",
  )
  assert {(r["defense"], r["strength"]) for r in records.read(str(tmp_path))} == {("none", 0.0)}


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
  """An .npz of 12x20x1 images: the class is where it is bright."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 300)
  images = rng.integers(0, 100, (300, 12, 20, 1))
  for image, label in zip(images, labels):
    image[:, 7 * label : 7 * label + 6] += 120
  path = tmp_path_factory.mktemp("data") / "bars.npz"
  np.savez(path, images=images.astype(np.uint8), labels=labels)
  return path


@pytest.mark.parametrize("data", ["bars", "my_data"])
def test_own_data_runs_through_all_attack_mains(data, three_classes, tmp_path, capsys):
  path = three_classes if data == "bars" else f"{EXAMPLES / 'my_data.py'}:factory"
  name = "bars" if data == "bars" else "my_data:factory"
  shared = (
    f"--data={path}",
    f"--model_dir={tmp_path / 'models'}",
    "--num_images=2",
    "--slots_per_device=4",
    "--num_epochs=8",
    "--batch_size=16",
  )
  through_answers = ("--variance=0", "--max_steps=30", "--binary_search_steps=2")
  for main, *flags in (
    ("blackbox_attacks", "--variance=0", "--variance=1e-4", "--max_queries=4000"),
    *([("whitebox_attacks", *through_answers)] if data == "bars" else []),
    ("whitebox_attacks", "--attack=pgd"),
  ):
    out = tmp_path / f"{main}{len(flags)}"
    mains.run(main, *shared, *flags, f"--out={out}")
    found = records.read(str(out))
    assert found and {r["dataset"] for r in found} == {name}
    assert {r["label"] for r in found} <= {0, 1, 2, 3, 4}
    assert (out / "table.md").exists() and (out / "pictures.png").exists()
    assert (out / "figure2.png").exists() == ("--attack=pgd" not in flags)
  manifest = json.loads((out / "manifest.json").read_text())
  assert len(manifest["request"]["data"]) == 16, "the images' fingerprint"
  assert manifest["about"]["training"]["test_accuracy"] > 0.7


def test_my_study_goes_on_and_is_drawn(tmp_path, monkeypatch):
  my_study.main(tmp_path)
  whole = (tmp_path / "records.jsonl").read_bytes()
  assert len(records.read(tmp_path)) == 30
  assert figures.draw([str(tmp_path)], str(tmp_path)), "it is drawn as the mains' folders are"
  lines = whole.splitlines(keepends=True)
  (tmp_path / "records.sums").unlink()
  (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:7]))
  my_study.main(tmp_path)
  assert sorted((tmp_path / "records.jsonl").read_bytes().splitlines(True)) == sorted(lines)
  monkeypatch.setattr(my_study, "MAX_QUERIES", 400)
  with pytest.raises(ValueError, match="holds records for max_queries=500, not 400"):
    my_study.main(tmp_path)


def test_other_images_are_another_request(three_classes, models, tmp_path):
  with np.load(three_classes) as arrays:
    images, labels = arrays["images"], arrays["labels"]
  small = tmp_path / "small.npz"
  flags = (
    models,
    *_QUICK,
    "--attack=ql",
    "--variance=0",
    f"--data={small}",
    f"--model={EXAMPLES / 'my_model.py'}:factory",
    f"--out={tmp_path / 'out'}",
    "--max_queries=60",
  )
  digits = np.repeat(np.arange(0, 250, 25, np.uint8), 64).reshape(10, 8, 8)
  np.savez(small, images=digits, labels=np.arange(10))
  with pytest.raises(ValueError, match="ask for at most that many"):
    mains.run("blackbox_attacks", *flags, "--num_images=9")
  np.savez(small, images=images, labels=labels)
  with pytest.raises(ValueError, match=r"those of small have shape \(12, 20, 1\)"):
    mains.run("blackbox_attacks", *flags)


@pytest.mark.parametrize(
  "images, labels, message",
  [
    (np.zeros((3, 8, 8), np.float32), np.zeros(3, int), "must be uint8 in 0..255, not float32"),
    (np.zeros((3, 8), np.uint8), np.zeros(3, int), r"must be \[N, H, W\] or"),
    (np.zeros((3, 8, 8, 2), np.uint8), np.zeros(3, int), "1, 3 or 4 channels last"),
    (np.zeros((0, 8, 8), np.uint8), np.zeros(0, int), "must be"),
    (np.zeros((3, 8, 8), np.uint8), np.zeros((3, 10), int), r"labels must be integers \[3\]"),
    (np.zeros((3, 8, 8), np.uint8), np.zeros(2, int), r"labels must be integers \[3\]"),
    (np.zeros((3, 8, 8), np.uint8), np.zeros(3), "labels must be integers"),
    (np.zeros((3, 8, 8), np.uint8), np.full(3, -1), "classes from 0 on"),
    (np.zeros((3, 8, 8), np.uint8), np.full(3, 10), "labels up to 10, but the model answers 10"),
  ],
)
def test_bad_data_is_one_sentence(images, labels, message, models, tmp_path):
  np.savez(tmp_path / "bad.npz", images=images, labels=labels)
  with pytest.raises(ValueError, match=message):
    mains.run(
      "blackbox_attacks",
      models,
      f"--data={tmp_path / 'bad.npz'}",
      f"--model={EXAMPLES / 'my_model.py'}:factory",
      f"--out={tmp_path / 'out'}",
    )


def test_a_file_that_is_no_data_is_told(tmp_path):
  (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04torn")
  np.savez(tmp_path / "other.npz", x=np.zeros(3))
  for name, message in (("torn", "cannot be read"), ("other", "it has no array 'images'")):
    with pytest.raises(ValueError, match=message):
      mains.run(
        "blackbox_attacks",
        f"--data={tmp_path / name}.npz",
        f"--model={EXAMPLES / 'my_model.py'}:factory",
        f"--out={tmp_path / 'out'}",
      )


_TOY_ATTACK = '''
from typing import NamedTuple

from harness.attacks.spec import AttackSpec
from harness.request import Option
import jax
import jax.numpy as jnp

from orjax.types import Attack
from orjax.types import StepInfo


class GreyState(NamedTuple):
  share: jax.Array
  adversarial: jax.Array


def build(objective, *, pace=0.1):
  """Fades the image to grey until its class changes."""
  def init(key, example):
    return GreyState(jnp.zeros(()), example.image)

  def step(key, oracle, example, state):
    row = oracle.query(key, state.adversarial[None])[0]
    done = objective.achieved(row, example.label)
    share = jnp.minimum(state.share + pace, 1)
    faded = jnp.where(done, state.adversarial, (1 - share) * example.image + share / 2)
    return GreyState(share, faded), StepInfo(
      objective.loss(row, example.label), done, done | (state.share >= 1),
      jnp.int32(oracle.queries_per_row), jnp.ones((), bool))

  return Attack(init, step)


SPEC = AttackSpec(build, {(None, None): {"max_queries": 50}},
                  options=(Option("pace", "float", 0.1, "of fading", above=0, high=1),))
'''
_TOY_DEFENSE = '''
from orjax.threats import Defense
from orjax.types import Oracle


def dimmed():
  """Answers in proportion to 1 - strength."""
  wrap = lambda oracle, setting: Oracle(
    lambda key, images: setting["factor"] * oracle.query(key, images), oracle.queries_per_row)
  return Defense("dimmed", wrap, lambda strength: {"factor": 1 - strength}, "dimming", (0.0, 0.5))


DEFENSE = dimmed
'''


def test_an_attack_and_a_defense_are_a_file_each(models, tmp_path, monkeypatch, capsys):
  """In the mains; the library's part is a function, its export and a row of a test's table."""
  for package, name, text in ((attacks, "grey", _TOY_ATTACK), (defenses, "dimmed", _TOY_DEFENSE)):
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
  from harness import request
  from harness import sweep

  options = sweep.options("answers", attack="zoo", out="unused")
  values = request.parse(
    options,
    [
      "main",
      models,
      *_QUICK,
      "--attack=grey",
      "--defense=dimmed",
      "--pace=0.3",
      "--max_queries=20",
      f"--out={tmp_path / 'out'}",
    ],
  )
  sweep.run(sweep.reader(options)(values))
  found = records.read(str(tmp_path / "out"))
  assert {(r["attack"], r["defense"], r["strength"]) for r in found} == {
    ("grey", "dimmed", 0.0),
    ("grey", "dimmed", 0.5),
  }
  assert all(r["num_queries"] <= 5 for r in found)
  request_kept = json.loads((tmp_path / "out" / "manifest.json").read_text())["request"]
  assert request_kept["pace"] == 0.3
  assert "| dimming |" in capsys.readouterr().out
  with pytest.raises(ValueError, match="--pace is not for --attack=zoo"):
    sweep.reader(options)(request.parse(options, ["main", "--pace=0.3"]))
