"""The mains stand alone in their folder, on one package that is imported one way."""

import ast
import functools
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
_LONGEST_CHAIN = 6


def _module(path):
  parts = path.relative_to(EXPERIMENTS).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _modules():
  paths = [*EXPERIMENTS.glob("*.py"), *(EXPERIMENTS / "harness").rglob("*.py")]
  return {_module(path): path for path in paths}


def _imports(path, known):
  """Modules of experiments that a file imports, wherever in it."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      # `from package import module` is the module, if it is one.
      full = [f"{node.module}.{alias.name}" for alias in node.names]
      names = [name if name in known else node.module for name in full]
    else:
      continue
    yield from (name for name in names if name in known and name != "harness")


def test_the_longest_chain_of_imports_is_short():
  known = _modules()
  graph = {name: set(_imports(path, known)) - {name} for name, path in known.items()}

  @functools.cache
  def chain(name):
    return max(((name, *chain(other)) for other in graph[name]), key=len, default=(name,))

  longest = max(map(chain, graph), key=len)  # a circle is a RecursionError
  assert len(longest) <= _LONGEST_CHAIN, " -> ".join(longest)


def test_mains_lie_alone_and_offer_one_name():
  folders = {path.name for path in EXPERIMENTS.iterdir() if path.is_dir()} - {"__pycache__"}
  assert folders == {"harness", "examples", "flagfiles", "networks", "results"}
  for path in EXPERIMENTS.glob("*.py"):
    tree = ast.parse(path.read_text())
    assert 'if __name__ == "__main__":' in path.read_text(), f"{path} is no main"
    assert ast.get_docstring(tree), f"{path} does not say how it is run"
  assert {path.name for path in (EXPERIMENTS / "harness").rglob("*.py")} & {"utils.py"} == set()


def test_old_helpers_cannot_be_imported():
  found = subprocess.run(
    [sys.executable, "-c", "import common"],
    cwd=EXPERIMENTS,
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 1 and "No module named 'common'" in found.stderr


def test_drawing_and_tables_need_no_jax():
  code = "import plot_figures, make_tables, sys; sys.exit('jax' in sys.modules)"
  found = subprocess.run([sys.executable, "-c", code], cwd=EXPERIMENTS, check=False)
  assert found.returncode == 0
