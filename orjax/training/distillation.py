"""Defensive distillation: a teacher's soft answers are learnt by a student like it."""

from collections.abc import Callable
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from orjax import checkpoints
from orjax import datasets
from orjax.models import Classifier
from orjax.precision import full_precision
from orjax.training.fit import check
from orjax.training.fit import fit
from orjax.training.step import trainer

# Folders of the first two trainings, inside the student's.
FIRST_EPOCH, TEACHER = "first_epoch", "teacher"
_BATCH_SIZE = 512


def soft_labels(
  apply: Callable, variables: Any, images: np.ndarray, *, temperature: float
) -> np.ndarray:
  """softmax(logits / temperature) of a classifier at test time, float32 [N, K].

  Args:
    apply: `apply(variables, key, images float32 [B, H, W, C]) -> logits [B, K]`.
    variables: the classifier's.
    images: uint8 [N, H, W, C].
    temperature: above 0.
  """

  @jax.jit
  def answer(variables, images):
    with full_precision():
      logits = apply(variables, jax.random.key(0), images)
    return jax.nn.softmax(logits.astype(jnp.float32) / temperature)

  size, found = min(_BATCH_SIZE, len(images)), []
  for start in range(0, len(images), size):
    batch = datasets.to_float(images[start : start + size])
    padding = np.zeros((size - len(batch), *batch.shape[1:]), batch.dtype)
    answers = np.asarray(answer(variables, np.concatenate([batch, padding])))
    found.append(answers[: len(batch)])
  return np.concatenate(found)


def distill(
  classifier: Classifier,
  optimizer: optax.GradientTransformation,
  train: datasets.Dataset,
  *,
  temperature: float = 100.0,
  seed: int,
  num_steps: int,
  batch_size: int,
  directory: str,
  meta: dict,
  apply: Callable,
  **options: Any,
) -> checkpoints.Checkpoint:
  """Distils a classifier into another of its kind, in three trainings that `fit` does.

  1. One epoch at temperature 1, from which the two others start.
  2. The teacher: `num_steps` at `temperature`.
  3. The student: as many at `temperature`, on the teacher's soft labels of the training
     images, for which the teacher is asked at test time and at that temperature.

  The student answers at temperature 1. Called again after a kill it resumes the training that
  was cut, and on one device ends in the same bits as if undisturbed: soft labels are a
  function of the teacher, and are computed anew. Each training has an order of batches, and
  draws, of its own.

  Args:
    classifier: what is trained, three times.
    optimizer: of all three; each starts with a fresh state.
    train: training split.
    temperature: of teacher and student.
    seed: of everything random in the three.
    num_steps: of the teacher, and of the student.
    batch_size: images a step.
    directory: the student's folder, with the teacher's and the first epoch's inside it.
    meta: as in `fit`; its `model` is the student's name.
    apply: as in `fit`; also what the teacher is asked with.
    **options: `test` and whatever else `fit` takes.

  Returns:
    The student's checkpoint. Its meta also has the temperature and the teacher's fingerprint.

  Raises:
    ValueError, FloatingPointError, Stopped: as `fit`; a student that was planned for another
      number of steps is refused, as its teacher would be another one.

  References:
    Papernot et al. (2016), Distillation as a Defense; `train_distillation` of Carlini and
    Wagner's nn_robust_attacks, from which ZOO's networks are.
  """
  check(len(train.labels), batch_size, num_steps, 1)
  meta = {**meta, "temperature": temperature, "scheduled_steps": num_steps}
  plan = trainer(classifier, optimizer, temperature=temperature)
  shapes = jax.eval_shape(plan.init, jax.random.key(0))
  saved = checkpoints.load(directory, shapes, meta)
  if saved is not None and saved.meta["finished"]:
    return saved

  def fitted(number, classifier, temperature, data, num_steps, folder=None, **facts):
    inside = lambda whole: os.path.join(whole, folder) if folder else whole
    return fit(
      trainer(classifier, optimizer, temperature=temperature),
      data,
      seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
      num_steps=num_steps,
      batch_size=batch_size,
      directory=inside(directory),
      meta={**meta, "model": inside(meta["model"]), **facts},
      apply=apply,
      **options,
    )

  one_epoch = len(train.labels) // batch_size
  first = fitted(0, classifier, 1.0, train, one_epoch, FIRST_EPOCH).state.variables
  begun = classifier._replace(init=lambda key: first)
  teacher = fitted(1, begun, temperature, train, num_steps, TEACHER).state.variables
  soft = soft_labels(apply, teacher, train.images, temperature=temperature)
  softened, taught_by = train._replace(labels=soft), checkpoints.fingerprint(teacher)
  return fitted(2, begun, temperature, softened, num_steps, teacher=taught_by)
