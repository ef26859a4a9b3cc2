"""What the README shows is run."""

import pathlib
import re

import jax
import numpy as np

from orjax import datasets

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_code_of_the_readme_runs(digits_model):
  classifier, variables, _ = digits_model
  test = datasets.load("digits", "test")
  known = {
    "predict": lambda variables, images: jax.nn.softmax(classifier.apply(variables, images)),
    "variables": variables,
    "images": datasets.to_float(test.images[:2]),
    "labels": test.labels[:2],
  }
  blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  assert len(blocks) == 2
  for block in blocks:
    exec(block, known)
  found = known["found"]
  assert found.num_queries.shape == (2,) and np.isfinite(found.l2).all()
  assert {"claimed", "clean_success", "defended_success_rate", "noise_error_rate"} <= set(
    found._fields
  )


def test_every_file_that_is_linked_is_there():
  for path in [ROOT / "README.md", *(ROOT / "experiments").rglob("README.md")]:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
      assert (path.parent / target).exists(), f"{path} links to {target}"


def test_every_main_and_no_other_is_named():
  mains = {path.name for path in (ROOT / "experiments").glob("*.py")}
  assert mains <= set(re.findall(r"\w+\.py", README))
