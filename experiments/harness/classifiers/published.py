"""The networks that lie in experiments/networks, each with its card."""

from collections.abc import Callable
import pathlib
from typing import Any

import jax

from orjax import checkpoints
from orjax import networks

FOLDER = pathlib.Path(__file__).parents[2] / "networks"
_LARGEST = 4_000_000  # bytes of a file


def publish(
  folder: str, recipe: Any, saved: checkpoints.Checkpoint, accuracy: Callable[[Any], float]
) -> pathlib.Path:
  """Writes a network that was trained by a `recipes.Recipe`, and its card; returns where.

  Args:
    folder: where to.
    recipe: of it.
    saved: the finished training.
    accuracy: `accuracy(variables)` on the test images: asked if the parameters must be rounded
      to float16 for the file to be small.
  """
  path = pathlib.Path(folder, saved.meta["model"] + ".safetensors").expanduser()
  card = {**saved.meta, "recipe": recipe._asdict()}
  variables = trained_variables(saved)
  if sum(leaf.nbytes for leaf in jax.tree.leaves(variables)) > _LARGEST:
    variables = networks.rounded(variables)
    card = {**card, "rounded_to": "float16", "test_accuracy": accuracy(variables)}
  networks.publish(path, variables, card)
  return path


def trained_variables(saved: checkpoints.Checkpoint):
  """The variables in a checkpoint of a training."""
  state = saved.state
  return state["variables"] if isinstance(state, dict) else state.variables


def find(name: str, differs: Callable[[dict], Any]) -> pathlib.Path | None:
  """Where a network is published, by its name; None if nowhere, or if its card differs."""
  path = FOLDER / f"{name}.safetensors"
  return path if path.exists() and not differs(networks.card_of(path)) else None


def load(path: str | pathlib.Path, name: str, expected) -> checkpoints.Checkpoint:
  """A published network that has the name of a recipe; says so.

  Raises:
    ValueError: it is another network, or damaged.
  """
  saved = networks.load(path, expected)
  if saved.meta.get("model") != name:
    raise ValueError(
      f"{path} is {saved.meta.get('model')}, not {name}: pass the flags that describe it, or "
      f"leave --network_file out"
    )
  if jax.process_index() == 0:
    print(
      f"{name} as published in {path}: test accuracy {saved.meta['test_accuracy']:.4f} after "
      f"{saved.meta['num_steps']} steps",
      flush=True,
    )
  return saved
