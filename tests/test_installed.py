"""What must be installed: known versions of all of it, and a sentence where some is missing."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def _name(requirement):
  """A package's name as pip compares them, of `Name[extra]>=1; marker`."""
  return re.sub("[-_.]+", "-", re.match("[A-Za-z0-9._-]+", requirement)[0]).lower()


def _requirements():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = project["optional-dependencies"]
  return [*project["dependencies"], *(x for extra in extras.values() for x in extra)]


def _constraints():
  """{name: {marker: version}}"""
  found = {}
  for line in (ROOT / "constraints.txt").read_text().splitlines():
    if not line.startswith("#"):
      pin, _, marker = line.partition("; ")
      name, version = pin.split("==")
      assert marker not in found.setdefault(name, {}), line
      found[name][marker] = version
  return found


def test_every_dependency_has_a_tested_version_on_each_python():
  constraints = _constraints()
  for requirement in _requirements():
    assert _name(requirement) in constraints, requirement
  for name, versions in constraints.items():
    assert set(versions) in ({""}, {'python_version < "3.12"', 'python_version >= "3.12"'}), name
    assert name == _name(name)


def test_pins_of_pyproject_are_those_of_the_constraints():
  pins = [x.split("==") for x in _requirements() if "==" in x]
  assert pins
  for requirement, version in pins:
    assert set(_constraints()[_name(requirement)].values()) == {version}


_MAIN = """
from harness import app

def main(asked):
  {}

app.run([], lambda values: None, main, computes=False)
"""


@pytest.mark.parametrize(
  "line, sentence",
  [
    ("import no_such_package", "error: there is no package no_such_package: pip install -e . -c"),
    (
      "from json import no_such_name",
      "error: packages do not fit each other (cannot import name 'no_such_name' from 'json'",
    ),
    ("raise ImportError('no JAX: pip install jax')", "error: no JAX: pip install jax"),
  ],
)
def test_a_package_that_is_missing_is_one_sentence(line, sentence, tmp_path):
  (tmp_path / "main.py").write_text(_MAIN.format(line))
  found = subprocess.run(
    [sys.executable, "main.py"],
    cwd=tmp_path,
    env={"PYTHONPATH": f"{ROOT / 'experiments'}:{ROOT}"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 1 and found.stdout == ""
  assert found.stderr.startswith(sentence) and found.stderr.count("\n") == 1
  assert "pip install" in found.stderr
