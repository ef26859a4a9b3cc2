"""The networks that lie in experiments/networks, each with its card."""

import pathlib

import jax

from harness import recipes
from harness import trainings
from harness.recipes import Recipe
from harness.request import DataRequest
from harness.trainings import Training
from orjax import checkpoints
from orjax import networks

FOLDER = pathlib.Path(__file__).parents[2] / "networks"


def publish(folder: str, recipe: Recipe, saved: checkpoints.Checkpoint) -> pathlib.Path:
  """Writes a trained network and its card; returns where."""
  path = pathlib.Path(folder, saved.meta["model"] + ".safetensors").expanduser()
  card = {**saved.meta, "recipe": recipe._replace(substitute=False)._asdict()}
  networks.publish(path, trained_variables(saved), card)
  return path


def trained_variables(saved: checkpoints.Checkpoint):
  """The variables in a checkpoint of a training."""
  state = saved.state
  return state["variables"] if isinstance(state, dict) else state.variables


def find(
  asked: DataRequest, recipe: Recipe, training: Training, num_images: int
) -> pathlib.Path | None:
  """Where the network of a recipe is published, trained as is asked for; None if nowhere."""
  path = FOLDER / f"{recipes.name(asked, recipe)}.safetensors"
  if not path.exists():
    return None
  return None if trainings.difference(networks.card_of(path), training, num_images) else path


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
