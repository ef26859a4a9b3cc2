"""Imports run one way; attacks never see the model."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# What each room of orjax may import from the others.
ALLOWED = {
  "__init__": set(),  # loads lazily
  "types": {"factories"},
  "factories": set(),
  "border": {"types", "host"},
  "compiled": {"host"},
  "precision": set(),
  "files": set(),
  "progress": set(),
  "records": {"files"},
  "datasets": {"files"},
  "checkpoints": {"files"},
  "networks": {"checkpoints", "files"},
  "threats": {"types", "factories"},
  "geometry": {"types"},
  "objectives": {"types", "factories"},
  "estimators": {"types", "factories"},
  "theory": {"types", "factories"},
  "host": set(),
  "defenses": {"types", "factories", "precision", "geometry", "threats"},
  "oracles": {"types", "factories", "border", "precision", "host", "defenses"},
  "attacks": {"types", "factories", "geometry", "objectives", "estimators", "theory"},
  "verification": {"types", "precision"},
  "evaluation": {"types", "precision", "host", "datasets"},
  "engine": {
    "types",
    "factories",
    "border",
    "compiled",
    "precision",
    "threats",
    "host",
    "verification",
    "progress",
    "files",
  },
  "runner": {"engine"},
  "closed": {
    "types",
    "factories",
    "border",
    "compiled",
    "threats",
    "host",
    "engine",
    "geometry",
    "progress",
  },
  "models": {"files"},
  "training": {
    "geometry",
    "precision",
    "datasets",
    "models",
    "checkpoints",
    "progress",
    "files",
    "evaluation",
  },
}
# Within a room, from what is below to what is above; none imports what is above it, and there
# is no circle.
FLOORS = {
  "files": ("told", "whole", "arrays one_json tensors", "json_lines", "__init__"),
  "records": ("fields folder", "manifest statistics", "*", "__init__"),
  "oracles": ("flat_batch", "sources attackers", "__init__"),
  "host": ("faults jax_internals", "endpoint", "staging", "__init__"),
  "attacks": ("solvers starts", "steps", "wrappers", "*", "__init__"),
  "engine": ("trials", "programs", "tasks", "slots snapshots tally", "runner", "__init__"),
  "training": ("step", "adversary augmentation optimizers", "fit", "distillation", "__init__"),
  "models": ("conv noise", "convnet resnet wide_resnet torchvision", "build", "__init__"),
  "theory": ("quadrature numbers", "*", "__init__"),
  "defenses": ("rows", "noise", "*", "__init__"),
}
# All that `python experiments/NAME.py` makes importable, and what a library must not need.
FORBIDDEN = {"absl", "matplotlib", "experiments", "harness", "tensorflow"}
NUMPY_ONLY = {"records", "datasets", "factories", "progress", "files", "__init__"}


def _imports(path):
  """Dotted names that a file imports, anywhere in it."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files():
  return sorted((ROOT / "orjax").rglob("*.py"))


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
  parts = path.relative_to(ROOT / "orjax").with_suffix("").parts
  room = parts[0]
  for name in _imports(path):
    pieces = name.split(".")
    assert pieces[0] not in FORBIDDEN, name
    if room in NUMPY_ONLY:
      assert pieces[0] not in ("jax", "flax", "optax"), name
    if pieces[0] == "flax":
      assert room == "models", "only the models know Flax"
    if pieces[0] == "orjax" and len(pieces) > 1:
      assert pieces[1] in ALLOWED[room] | {room}, f"{room} may not import {name}"


def _floor(room, module):
  """How high in its room a module stands; packages inside a room count as one."""
  floors = [floor.split() for floor in FLOORS[room]]
  named = [number for number, floor in enumerate(floors) if module in floor]
  return named[0] if named else floors.index(["*"])


@pytest.mark.parametrize("room", FLOORS)
def test_imports_within_a_room_run_one_way(room):
  below = {}
  for path in (ROOT / "orjax" / room).rglob("*.py"):
    inner = path.relative_to(ROOT / "orjax" / room).with_suffix("").parts
    for name in _imports(path):
      pieces = name.split(".")
      if pieces[:2] == ["orjax", room] and len(pieces) > 2 and pieces[2] != inner[0]:
        below.setdefault(inner[0], set()).add(pieces[2])
        assert _floor(room, pieces[2]) <= _floor(room, inner[0]), f"{path} may not import {name}"
  graphlib.TopologicalSorter(below).prepare()  # refuses a circle


def test_attacks_never_name_the_model_or_the_defense():
  for path in (ROOT / "orjax" / "attacks").rglob("*.py"):
    names = {
      node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }
    assert not names & {"predict", "variables", "stddev"}, path


def _code_lines(path):
  """Lines of code of a file: without docstrings, comments and blank lines."""
  source = path.read_text()
  prose = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
      prose |= set(range(node.lineno, node.end_lineno + 1))
  lines = enumerate(source.splitlines(), 1)
  return sum(1 for n, x in lines if n not in prose and x.strip() and x.strip()[0] != "#")


@pytest.mark.parametrize("folder", ["orjax", "experiments", "tests"])
def test_modules_stay_small(folder):
  for path in (ROOT / folder).rglob("*.py"):
    assert _code_lines(path) < 300, path


def test_rooms_are_all_listed():
  rooms = {p.relative_to(ROOT / "orjax").with_suffix("").parts[0] for p in _files()}
  assert rooms == set(ALLOWED)
