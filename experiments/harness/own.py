"""What the user brings in a file of their own: a factory, called and told of by name.

A file is imported under a private name, so that it shadows no module, with its own folder
importable; an error in it is told as the file's, with its line.
"""

from collections.abc import Callable
import functools
import importlib
import importlib.util
import pathlib
import sys
import traceback
from typing import Any


def name(value: str) -> str:
  """What records call it: `file:factory` of `path/to/file.py:factory`."""
  module, _, factory = value.rpartition(":")
  return f"{pathlib.Path(module).stem if module.endswith('.py') else module}:{factory}"


def made(value: str, flag: str) -> Any:
  """What the user's factory returns.

  Args:
    value: `path/to/file.py:factory` or `package.module:factory`.
    flag: that named it, for messages.

  Raises:
    ValueError: there is no such factory, or it fails; the message says where.
  """
  factory = _found(value, flag)
  try:
    return factory()
  except Exception as e:  # whatever the user's code raises
    raise ValueError(
      f"--{flag}={value}: the factory fails: {type(e).__name__}: {_text(e)}{_place(e)}"
    ) from e


def _found(value, flag):
  module_name, _, factory_name = value.rpartition(":")
  if not module_name or not factory_name:
    raise ValueError(
      f"--{flag}={value} names no function: pass path/to/file.py:factory or package.module:factory"
    )
  path = None
  if module_name.endswith(".py"):
    path = pathlib.Path(module_name).expanduser()
    if not path.is_file():
      raise ValueError(f"--{flag}={value}: there is no file {path}")
  try:
    module = importlib.import_module(module_name) if path is None else _imported(path.resolve())
  except Exception as e:  # whatever the user's code raises
    raise ValueError(
      f"--{flag}={value} cannot be imported: {type(e).__name__}: {_text(e)}{_place(e)}"
    ) from e
  factory = getattr(module, factory_name, None)
  if not isinstance(factory, Callable):
    raise ValueError(f"--{flag}={value}: {module_name} has no function {factory_name}")
  return factory


@functools.cache
def _imported(path):
  """The module in a file, under a name that no other has."""
  private = f"_own_{abs(hash(str(path)))}_{path.stem}"
  spec = importlib.util.spec_from_file_location(private, path)
  assert spec and spec.loader, "a file that ends in .py has a loader"
  module = importlib.util.module_from_spec(spec)
  sys.modules[private] = module  # where dataclasses look for their module
  folder = str(path.parent)
  added = folder not in sys.path
  if added:
    sys.path.append(folder)
  try:
    spec.loader.exec_module(module)
  except BaseException:
    del sys.modules[private]
    if added:
      sys.path.remove(folder)
    raise
  return module


def _text(error):
  return " ".join(str(error).split())


def _place(error):
  """The last line of the user's own code that an error went through."""
  if isinstance(error, SyntaxError):
    return ""  # its text has the line
  here = str(pathlib.Path(__file__))
  frames = [
    frame
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.filename != here and "importlib" not in frame.filename
  ]
  return f" (line {frames[0].lineno} of {frames[0].filename})" if frames else ""
