"""Imports run one way; attacks never see the model."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# What each module of orjax may import from orjax.
ALLOWED = {
  "types": set(),
  "geometry": {"types"},
  "objectives": {"types"},
  "rows": set(),
  "oracles": {"types", "host", "rows"},
  "estimators": {"types"},
  "theory": {"theory"},
  "host": set(),
  "progress": set(),
  "records": set(),
  "datasets": set(),
  "attacks": {"types", "geometry", "objectives", "estimators", "attacks"},
  "trials": {"types", "host", "oracles"},
  "verification": {"types", "host", "oracles", "datasets"},
  "engine": {"types", "host", "trials", "verification"},
  "snapshots": set(),
  "tasks": {"types", "engine", "trials"},
  "runner": {"types", "host", "engine", "tasks", "trials", "progress", "snapshots"},
  "models": {"models"},
  "checkpoints": set(),
  "trainers": {"geometry", "models"},
  "training": {"trainers", "datasets", "checkpoints", "progress", "verification"},
  "__init__": {"trials"},
}
FORBIDDEN = {"absl", "matplotlib", "experiments", "common", "tensorflow"}
NUMPY_ONLY = {"records", "datasets", "progress"}


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
      assert pieces[1] in ALLOWED[room], f"{room} may not import {name}"


def test_attacks_never_name_the_model_or_the_defense():
  for path in (ROOT / "orjax" / "attacks").glob("*.py"):
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


def test_dataset_and_model_rooms_are_all_listed():
  rooms = {p.relative_to(ROOT / "orjax").with_suffix("").parts[0] for p in _files()}
  assert rooms == set(ALLOWED)
