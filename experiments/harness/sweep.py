"""What the attack mains share: a sweep over strengths and over variants of an attack."""

from collections.abc import Callable
import contextlib
import functools
import pathlib
from typing import Any
from typing import NamedTuple

import jax

from harness import app
from harness import attacks
from harness import bill
from harness import cells
from harness import choice
from harness import classifiers
from harness import data
from harness import defenses
from harness import distilled
from harness import limits
from harness import locks
from harness import probing
from harness import processes
from harness import recipes
from harness import replays
from harness import request
from harness import sizes
from harness.report import figures
from harness.report import tables
from harness.report import verdict
from harness.request import Option
from orjax import engine
from orjax import files
from orjax import records


class SweepRequest(NamedTuple):
  """What a user asks an attack main for.

  Attributes:
    images: which data.
    classifier: what is attacked.
    defense: what answers at test time.
    attack: who attacks.
    num_images: images to attack.
    num_runs: repeats.
    seed: of everything random.
    slots_per_device: trials at a time on each device; None for what fills it.
    chunk: steps between two looks.
    out: folder of the records.
    num_pictures: images that are kept.
    trace: images whose losses are kept.
    science: everything that records depend on, as far as it is known before the model is.
    defaults: what `science` would be without the flags that were given.
  """

  images: request.DataRequest
  classifier: classifiers.ClassifierRequest
  defense: defenses.DefenseRequest
  attack: attacks.AttackRequest
  num_images: int
  num_runs: int
  seed: int
  slots_per_device: int | None
  chunk: int
  out: str
  num_pictures: int
  trace: int
  science: dict[str, Any]
  defaults: dict[str, Any]


def options(*access: str, attack: str, out: str) -> list[Option]:
  """The options of an attack main: see `attacks.options`."""
  return [
    *data.DATASET,
    *data.CHOICE,
    *classifiers.OPTIONS,
    *defenses.OPTIONS,
    *attacks.options(*access, default=attack),
    *sizes.SIZE,
    app.out(out),
    *sizes.OUTPUT,
    *sizes.SPEED,
  ]


def reader(all_options: list[Option]) -> Callable[[request.Values], SweepRequest]:
  """Makes `read(values)`, which makes the request of a main with these options."""

  def read(values):
    found = _read(values)
    # What does not go together is told at once.
    attacks.plan(found.attack, victim(found, found.defense.value, lambda: True))
    selecting = {"dataset", "data", "attack", "norm", "network", "trained_with"}
    plain = {o.name: o.default for o in all_options} | {
      name: values[name] for name in selecting & values.by_name.keys()
    }
    science = _science(found, values, all_options)
    without = _science(found, request.Values(plain, frozenset()), all_options)
    numbers = attacks.science(
      attacks.read(request.Values({**values.by_name, **plain}, frozenset()), found.images)
    )
    return found._replace(science=science, defaults={**without, **numbers})

  return read


def _read(values):
  images = data.read(values)
  classifier = classifiers.read(values, images)
  attack = attacks.read(values, images)
  default, strengths = "output_noise", None
  if classifier.host_model or attack.sees_logits:
    default = "none"
  if classifier.recipe and classifier.recipe.inside:
    default, strengths = "inner_noise", [classifier.recipe.stddev]
  defense = defenses.read(values, default, strengths)
  if attack.sees_logits and defense.value not in ("none", "inner_noise"):
    if not attack.spec.takes_logs:
      who = "--answers=logits are" if attack.answers == "logits" else f"--attack={attack.name} sees"
      raise ValueError(
        f"--defense={defense.value} works on probabilities, and {who} logits: leave one out"
      )
    attack = attack._replace(takes_logs=True)
  if defense.ensemble > 1 and (attack.sees_logits or classifier.host_model):
    raise ValueError("--ensemble averages probabilities of a model in JAX: leave it out")
  if values["trace"] and classifier.host_model:
    raise ValueError(
      "--trace replays trials, which would ask --host_model all over again: leave one out"
    )
  learns = attack.own.get("transfer_from")
  if (attack.spec.access != "answers" or attack.sees_logits or learns) and classifier.host_model:
    raise ValueError("--host_model is for attacks that only ask: pass a --model in JAX")
  if values["trace"] and attack.name == "pgd" and attack.numbers["stop_at_success"]:
    raise ValueError("--trace of PGD needs --nostop_at_success: all its steps are shown")
  return SweepRequest(
    images,
    classifier,
    defense,
    attack,
    **values.named(
      "num_images", "num_runs", "seed", "slots_per_device", "chunk", "out", "num_pictures", "trace"
    ),
    science={},
    defaults={},
  )


def _science(found, values, all_options):
  """Values of all science options that mean something in this request."""
  of_attacks = {o.name for spec in attacks.named().values() for o in spec.all_options()}
  plain = {
    option.name: values[option.name]
    for option in all_options
    if option.science and option.name not in of_attacks
  }
  if found.images.path:
    plain["dataset"] = found.images.name
  return (
    plain
    | {"defense": defenses.name(found.defense.value), "strength": found.defense.strengths}
    | (attacks.science(found.attack))
  )


def victim(
  asked: SweepRequest, defense: str, computes_float64: Callable[[], bool]
) -> attacks.Victim:
  """What the plan of a request's attack may depend on, with a defense of some name."""
  return attacks.Victim(
    asked.classifier.recipe,
    random=defense == "inner_noise",
    computes_float64=computes_float64,
    name_of=functools.partial(recipes.name, asked.images),
    defense=defense,
  )


def _computes_float64(asked):
  """Whether the model does; a user's is loaded to tell."""
  return asked.classifier.recipe is not None or classifiers.users.computes_float64(
    classifiers.load(asked.classifier, asked.images, asked.seed)
  )


def _report(asked, planned):
  """Table and figures, once the ledgers are complete."""
  trials = [task.identity for cell in planned for task in cell.tasks]
  if missing := len(records.missing(asked.out, trials)):
    raise ValueError(f"{missing} trials are missing in {asked.out}: run the command again")
  if asked.trace:
    replays.write_traces(
      planned, asked.out, asked.trace, seed=asked.seed, max_queries=asked.attack.max_queries
    )
  text = tables.attacks(asked.out)
  if asked.attack.own.get("diagnose"):
    text += "\n\n" + verdict.verdict(asked.out)
  files.write_text(pathlib.Path(asked.out, "table.md"), text + "\n")
  print(text)
  for path in figures.draw([asked.out], asked.out):
    print(f"figure: {path}")


def _open_folder(asked, model, others, test, defense, strengths, slots):
  """Checks the folder's manifest and accuracy; returns the ledger, and by what it is made."""
  science = {
    **asked.science,
    "model": model.fingerprint,
    "data": data.fingerprint(asked.images),
    "strength": strengths,
    "substitutes": {other.name: other.fingerprint for other in others.values()},
    "slots_per_device": slots,
    "rows_per_call": classifiers.rows_per_call(asked.classifier, model.image_shape),
  }
  defaults = {**asked.defaults, "data": None, "substitutes": {}, "rows_per_call": None}
  facts = app.about(
    axis=defense.axis,
    training=model.training,
    substitutes=[other.training for other in others.values()],
  )
  if jax.process_index() == 0:
    records.check_manifest(asked.out, science, facts, defaults)
    choice.write_accuracy(asked.out, model, defense, strengths, test, asked.seed)
  processes.wait_for_all("the folder is ready")
  records.check_manifest(asked.out, science, facts, defaults)
  return records.Ledger(asked.out, jax.process_index(), jax.process_count()), facts


def _attack(asked, planned, todo, ledger, slots):
  """Does what is left, and keeps records and pictures."""
  kept = sorted({task.index for task in planned[0].tasks})[: asked.num_pictures]
  digest = records.request_digest(asked.out)
  for number, (cell, tasks) in enumerate(zip(planned, todo)):
    snapshot = pathlib.Path(asked.out, f"snapshot-{jax.process_index()}-{number}.npz")
    plan = engine.Plan(slots, asked.chunk, snapshot=str(snapshot), request=digest)
    with jax.enable_x64(cell.variant.float64):
      for outcome in engine.run(
        cell.variant.attack,
        cell.variant.objective,
        cell.threats,
        cell.variables,
        tasks,
        seed=asked.seed,
        max_queries=asked.attack.max_queries,
        plan=plan,
      ):
        ledger.append(records.record(outcome))
        if outcome.task.index in kept and outcome.task.run == 0:
          cells.keep_picture(asked.out, outcome)


def _load(asked, variants):
  """The model, the other networks by recipe, the images to choose from."""
  model = classifiers.load(asked.classifier, asked.images, asked.seed)
  rows = classifiers.rows_per_call(asked.classifier, model.image_shape)
  test = data.test_images(
    asked.images,
    model.image_shape,
    limited=model.logits is None,
    trained_here=asked.classifier.recipe is not None,
  )

  def substitute(recipe):
    if recipe == recipes.DISTILLED:
      radius = asked.attack.numbers["radius"]
      return distilled.load(model, test.images, radius=radius, seed=asked.seed, rows_per_call=rows)
    return classifiers.trained.load(
      asked.classifier.model_dir,
      asked.images,
      recipe,
      asked.classifier.training,
      asked.seed,
      rows,
      as_it_is=not recipe.substitute,
      retrain=asked.classifier.retrain,
    )

  wanted = dict.fromkeys(recipe for variant in variants for recipe in variant.others)
  others = {recipe: substitute(recipe) for recipe in wanted}
  return model, others, test


def check(asked: SweepRequest) -> tuple:
  """The defense, its strengths and the attacks of a request, as far as they are possible.

  Raises:
    ValueError: they are not; no model was loaded and nothing asked.
  """
  defense, strengths = defenses.load(asked.defense)
  computes_float64 = functools.partial(_computes_float64, asked)
  variants = attacks.plan(asked.attack, victim(asked, defense.name, computes_float64))
  cells.check_budget(
    variants, *classifiers.shapes(asked.classifier, asked.images), asked.attack.max_queries
  )
  return variants, defense, strengths


def run(asked: SweepRequest) -> None:
  """Does an attack main's request: attacks, ledgers, table and figures."""
  found = check(asked)
  records.make_folder(asked.out)
  with locks.only_writer(asked.out, "--out", jax.process_index()):
    _run(asked, *found)


def _run(asked, variants, defense, strengths):
  """The request, in a folder that nobody else writes to."""
  model, others, test = _load(asked, variants)
  choice.check_rows(asked.classifier.max_rows, model, len(test.labels), asked.num_images)
  with _billed(asked, model):
    _attack_model(asked, model, others, test, variants, defense, strengths)


@contextlib.contextmanager
def _billed(asked, model):
  """Says in the end, whatever ended it, what a model outside JAX was asked."""
  before = bill.now(model.endpoints)
  try:
    yield
  finally:
    if model.endpoints:
      print(bill.told(before, model.endpoints, asked.classifier.price_per_1000), flush=True)


def _look(asked, model, defense, strengths, test):
  """Looks at what the user handed in; a model outside JAX is asked once in a folder's life."""
  probing.check_model(model, test)
  if defenses.is_own(asked.defense.value):
    probing.check_defense(model, defense, strengths[-1], test)
  if model.logits is None and jax.process_index() == 0 and not choice.begun(asked.out):
    print(probing.about(probing.spread(model, test), model.judge is not None), flush=True)


def _attack_model(asked, model, others, test, variants, defense, strengths):
  """The request, with a model that is loaded."""
  _look(asked, model, defense, strengths, test)
  chosen, images = choice.correctly_classified(
    model, test, asked.num_images, asked.images.name, asked.out
  )
  common = cells.Attacked(
    asked.images.name,
    model,
    images,
    test.labels[chosen],
    chosen,
    defense,
    strengths,
    asked.attack,
    asked.num_runs,
    asked.seed,
    classifiers.rows_per_call(asked.classifier, model.image_shape),
  )
  limits.check_trials(cells.num_trials(common, variants))
  planned = []
  for variant in variants:
    with jax.enable_x64(variant.float64):
      planned.append(cells.cell(common, variant, others))
  with jax.enable_x64(variants[0].float64):
    slots = asked.slots_per_device or engine.choose_slots(
      variants[0].attack, *planned[0][1:4], passes=asked.defense.ensemble
    )
    limits.check_slots(slots, cells.bytes_per_slot(planned[0]))
  ledger, facts = _open_folder(asked, model, others, test, defense, strengths, slots)
  # Records of others are refused before anything is asked.
  trials = [task.identity for cell in planned for task in cell.tasks]
  left = {records.identity(trial) for trial in records.missing(asked.out, trials)}
  todo = [[task for task in c.tasks if records.identity(task.identity) in left] for c in planned]
  processes.wait_for_all("every process knows what is left")
  num_tasks, num_left = (sum(map(len, x)) for x in ([c.tasks for c in planned], todo))
  print(f"{num_tasks} trials, {num_tasks - num_left} of them done before", flush=True)
  if model.endpoints and num_left:
    most = num_left * asked.attack.max_queries
    print(bill.estimate(num_left, most, asked.classifier.price_per_1000), flush=True)
  if num_left and jax.process_index() == 0:
    records.note_continued(asked.out, facts, num_tasks - num_left)
  _attack(asked, planned, todo, ledger, slots)
  if processes.wait_for_all("all trials are done"):
    _report(asked, planned)
  processes.wait_for_all("the report is written")
