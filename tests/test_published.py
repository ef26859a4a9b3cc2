"""What is published runs again: every command is its folder's, and every folder has one."""

import json
import re
import shlex
import types

import compare_defenses
import jax
import mains
import numpy as np
import pytest

from harness import attacks
from harness import cells
from harness import defenses
from harness import sweep
from orjax import datasets
from orjax import models
from orjax import networks
from orjax import records

RESULTS = mains.ROOT / "experiments" / "results"
# Known once the model is there; everything else of a request is in the flags.
_OF_THE_MODEL = {"model", "data", "substitutes", "slots_per_device", "rows_per_call"}


def test_random_scaling_leaves_a_ratio_where_no_logarithm_is_clamped():
  """Shares of answers, over the factor, whose third probability is below 1e-30."""
  try:
    test = datasets.load("mnist", "test")
  except (OSError, ValueError) as e:
    pytest.skip(f"mnist is not here: {e}")
  classifier = models.build("convnet_mnist")
  path = mains.ROOT / "experiments" / "networks" / "convnet_mnist.safetensors"
  saved = networks.load(path, classifier.init(jax.random.key(0)))
  chosen = sorted({r["index"] for r in records.read(RESULTS / "controls_mnist/scaling/ql_dlr")})
  images = datasets.to_float(test.images[chosen])
  top = jax.lax.top_k(jax.jit(classifier.apply)(saved.state, images), 3)[0]
  gaps = np.asarray(top[:, 0] - top[:, 2], np.float64)
  said = (RESULTS / "controls_mnist" / "README.md").read_text()
  shares = []
  for power in (1, 0.5):
    low, high = 0.5**power, 10**power
    clamped = np.clip((high + np.log(1e-30) / gaps) / (high - low), 0, 1)
    shares.append(f"{clamped.mean():.2f}")
  wanted = f"in {shares[0]} of the answers to these images, with the square root in {shares[1]}."
  assert wanted in " ".join(said.split())


def _published():
  """Commands of attack mains in the READMEs of the results."""
  for path in sorted(RESULTS.glob("*/README.md")):
    for line in path.read_text().splitlines():
      if re.match(r"    python experiments/(blackbox|whitebox)_attacks.py", line):
        main, *flags = shlex.split(line)[1:]
        yield main.split("/")[-1].removesuffix(".py"), flags


def _missing(asked):
  """Settings of trials that a command asks for, on the folder's images, and the folder lacks."""
  found = records.read(asked.out)
  defense, strengths = defenses.load(asked.defense)
  victim = sweep.victim(asked, defense.name, lambda: True)
  labels = {record["index"]: record["label"] for record in found}
  first = found[0]
  common = cells.Attacked(
    asked.images.name,
    types.SimpleNamespace(name=first["model"], trained_with=first["trained_with"], num_classes=10),
    np.zeros((len(labels), 1)),
    np.array(list(labels.values())),
    np.array(list(labels)),
    defense,
    strengths,
    asked.attack,
    asked.num_runs,
    asked.seed,
    None,
  )
  wanted = [
    identity
    for variant in attacks.plan(asked.attack, victim)
    for identity in cells.identities(common, variant)
  ]
  return [identity["setting"] for identity in records.missing(asked.out, wanted)]


def _wanted(asked):
  """What a command says for its folder's manifest, which alone knows of the model."""
  kept = records.read_manifest(asked.out)["request"]
  _, strengths = defenses.load(asked.defense)
  known = {name: kept.get(name) for name in _OF_THE_MODEL}
  return {**asked.science, "strength": strengths, **known}


def _out(flags):
  return next(flag.split("=", 1)[1] for flag in flags if flag.startswith("--out="))


@pytest.mark.parametrize(
  "main, flags", list(_published()), ids=[_out(flags)[20:] for _, flags in _published()]
)
def test_a_published_command_is_its_folders(main, flags, monkeypatch):
  """Run again it finds nothing to do, if the model is there."""
  if "--attack=evolution" in flags:
    pytest.importorskip("evosax", reason="evosax, of the extra `evolution`, is not installed")
  monkeypatch.chdir(mains.ROOT)
  asked = mains.asked(main, *flags)
  wanted = _wanted(asked)
  records.check_manifest(asked.out, wanted, {}, asked.defaults)
  with pytest.raises(ValueError, match="holds records for num_images="):
    records.check_manifest(asked.out, {**wanted, "num_images": 12345}, {}, asked.defaults)
  missing = _missing(asked)
  # The diagnoses of Table 2 are older than these, as its README says.
  new = [x for x in missing if "search" in x or x.get("substitute") == "distilled"]
  assert missing == new and (not missing or "table2" in asked.out)


def _comparisons():
  """The cells of the comparisons in the READMEs of the results: requests."""
  for path in sorted(RESULTS.glob("*/README.md")):
    for line in path.read_text().splitlines():
      if line.startswith("    python experiments/compare_defenses.py"):
        asked = mains.asked("compare_defenses", *shlex.split(line)[2:])
        found = json.loads((mains.ROOT / asked.out / "strengths.json").read_text())["found"]
        wanted = {defense.value for defense in asked.defenses}
        compared = [row for row in found if row["value"] in wanted]
        for row in [{"value": "none", "strength": None}, *compared]:
          for attack in asked.attacks:
            yield compare_defenses.cell(asked, attack, row["value"], row["strength"])


def test_every_cell_of_a_published_comparison_is_its_folders(monkeypatch):
  monkeypatch.chdir(mains.ROOT)
  for asked in _comparisons():
    records.check_manifest(asked.out, _wanted(asked), {}, asked.defaults)
    assert _missing(asked) == []
    assert {r["attack"] for r in records.read(asked.out)} == {asked.attack.name}


def test_every_folder_of_records_has_its_command(monkeypatch):
  monkeypatch.chdir(mains.ROOT)
  folders = {str(path.parent.relative_to(mains.ROOT)) for path in RESULTS.rglob("manifest.json")}
  of_cells = {asked.out for asked in _comparisons()}
  assert folders == {_out(flags) for _, flags in _published()} | of_cells
