"""What every table of a README with numbers stands on; `test_numbers` recomputes them.

A row is a folder of records and values that its records have; a column is a number of those
records and values beside the row's. None is a cell that no ledger has, such as a label.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import pathlib
import types
from typing import Any
from typing import NamedTuple

import numpy as np

from harness.report import ledgers
from harness.report import paper
from harness.report import radii
from harness.report import tables
from harness.report import verdict
from harness.report import white_box
from orjax import records

RESULTS = pathlib.Path(__file__).parent.parent / "experiments" / "results"
load = functools.cache(lambda folder: ledgers.load(RESULTS / folder))


class Group(NamedTuple):
  """The records a cell is about, their ledger and summary."""

  ledger: ledgers.Ledger
  trials: list[dict]
  summary: dict


class Column(NamedTuple):
  """A number of a group, and what the group is beside what the row says."""

  show: Callable[[Group], Any]
  wanted: Mapping[str, Any] = types.MappingProxyType({})


Row = dict[str, Any]


class Shown(NamedTuple):
  """A table: its rows from top to bottom, its columns from left to right."""

  rows: list[Row | list[Row]]  # of several that are one line, all are checked
  columns: list[Column | None]


@functools.cache
def _group(folder, wanted):
  ledger = load(folder)
  trials = [r for r in ledger.records if all(ledgers.value(r, k) == v for k, v in wanted)]
  return Group(ledger, trials, records.summarise(trials))


def group(row: Row, column: Column) -> Group:
  """The records of a cell."""
  wanted = {**row, **column.wanted}
  return _group(wanted.pop("folder"), tuple(wanted.items()))


def rate(name):
  return lambda found: tables.rate(found.summary, name)


def number(name):
  return lambda found: found.summary[name]


CLEAN, CLAIMED = rate("clean_success"), rate("claimed")
ERRORS, DEFENDED = rate("noise_error_rate"), rate("defended_success_rate")


def distance(found):
  return tables.distance(found.summary)


def steps(found):
  counts = {record["num_steps"] for record in found.trials}
  return f"{found.summary['median_steps']:.0f}" + (" (median)" if len(counts) > 1 else "")


def _accuracy(found):
  return ledgers.accuracy(found.ledger, found.trials[0]["strength"])


def accuracy(found):
  return _accuracy(found)["accuracy"]


def accuracy_interval(found):
  return tables.interval(accuracy(found), *_accuracy(found)["interval"])


def under_attack(found):
  return tables.interval(*tables.accuracy_under_attack(found.summary, accuracy(found)))


def left(found):
  return tables.accuracy_under_attack(found.summary, accuracy(found))[0]


def published(loss, show):
  """Of the published attack alone, where a folder has all those of a diagnosis."""

  def of_the_attack(found):
    trials = white_box.published(found.trials, found.ledger.request, loss)
    return show(Group(found.ledger, trials, records.summarise(trials)))

  return Column(of_the_attack)


def in_table_1(found):
  """The paper's number."""
  return paper.TABLE_1[found.trials[0]["attack"]][found.trials[0]["strength"]]


def beside_table_2(show, number):
  """A number, and the paper's in brackets where there is one: `number` 0, 1 or 2 of a row."""

  def with_the_papers(found):
    request = found.ledger.request
    printed = paper.TABLE_2.get((request.get("network", "convnet"), request["trained_with"]))
    return f"{show(found):.3f}" + (f" ({printed[number]:.3f})" if printed else "")

  return Column(with_the_papers)


def worst(found):
  summary = verdict.worst_case(found.trials)
  return tables.interval(*tables.accuracy_under_attack(summary, accuracy(found)))


def trained(found):
  return f"{found.ledger.manifest['about']['training']['num_steps']:,}"


def within(radius):
  return Column(
    lambda found: tables.interval(*radii.success_within(found.trials, radius), digits=2)
  )


def clean_and_distance(found):
  far = found.summary["l2"]
  return CLEAN(found) + ("" if far is None else f" ({far:.2f})")


def cost_of_noise(found):
  """The distance over that without noise, image by image: median, smallest and largest."""
  folder = str(found.ledger.directory.relative_to(RESULTS))
  quiet = {r["index"]: r["l2"] for r in group(_of(folder, strength=0.0), Column(str)).trials}
  ratios = [r["l2"] / quiet[r["index"]] for r in found.trials if r["clean_success"]]
  return f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}; {len(ratios)} images)"


def clean_and_claimed(found):
  far = found.summary["l2"]
  said = f"{found.summary['claimed']:.2f}" + ("" if far is None else f"; l2 {far:.1f}")
  return f"{CLEAN(found)} ({said})"


def queries_to_success(found):
  costs = [r["num_queries"] for r in found.trials if r["clean_success"]]
  return f"{np.median(costs):.0f}" if costs else "-"


def _of(folder, **values):
  return {"folder": folder, **values}


_XENT, _CW = {"loss": "xent"}, {"loss": "cw"}
_UNDEFENDED = _of("figure2_mnist/untargeted", strength=0.0)
_PUBLISHED_ZOO = _of("figure2_mnist/untargeted", strength=1e-4)
_VARIANCES = (0.0, 1e-4, 1e-2, 5.76e-2)
_INFORMED_CW = [_of("informed_mnist/carlini_wagner", strength=x) for x in _VARIANCES[1:]]
_OF_RESNET = _of("table2/resnet32_or", steps=10, restarts=1, float64=False, substitute=None)
_TABLE_2 = [
  *("resnet32_none", "resnet32_pgd", "resnet32_or", "resnet32_pgd_or"),
  *("convnet_cifar10_none", "convnet_cifar10_or0.1", "convnet_mnist_none", "convnet_mnist_or"),
  *("convnet_digits_none", "convnet_digits_pgd", "convnet_digits_or", "convnet_digits_pgd_or"),
]
_ZEROS = published("xent", number("zero_gradients"))
_PLACES = ("every", "first", "second")
_AVERAGED = [Column(CLEAN, {"num_samples": k}) for k in (1, 10, 50, 100)]


_HEADLINE = [
  _of(f"headline_mnist/{name}", strength=x)
  for name, count in (("zoo", 4), ("informed_zoo", 2), ("informed_nes", 4))
  for x in _VARIANCES[:count]
]


def _beside(attack, *columns):
  return [Column(show, {"folder": f"table1_imagenet/{attack}"}) for show in columns]


# By the file (below experiments/results, or README.md) and the number of the table in it.
SHOWN = {
  ("README.md", 0): Shown(
    [
      *map(_of, ("headline_mnist/zoo", "headline_mnist/informed_nes")),
      *map(_of, ("decision_mnist/hop_skip_jump", "decision_mnist/pop_skip_jump")),
    ],
    [None, *(Column(clean_and_distance, {"strength": x}) for x in _VARIANCES)],
  ),
  ("README.md", 1): Shown(
    [{"strength": x} for x in _VARIANCES],
    [
      *(
        None,
        *(x for attack in ("zoo", "ql", "bandits") for x in _beside(attack, CLEAN, in_table_1)),
      ),
      *_beside("ql", number("noise_error_rate"), accuracy),
    ],
  ),
  ("README.md", 2): Shown(
    [_of(f"table2/{_TABLE_2[i]}") for i in (0, 2, 7, 9, 11)],
    [
      *(None, None, Column(accuracy), published("xent", left), _ZEROS, published("cw", left)),
      Column(worst),
    ],
  ),
  ("decision_mnist", 0): Shown(
    [
      _of(f"decision_mnist/{attack}", strength=x)
      for attack in ("hop_skip_jump", "pop_skip_jump")
      for x in _VARIANCES
    ],
    [None, None, *map(Column, (CLAIMED, CLEAN, DEFENDED, distance, accuracy))],
  ),
  ("figure13_mnist", 0): Shown(
    [_of(f"figure13_mnist/stddev_{x}") for x in ("none", 10, 100, 1000)],
    [
      None,
      Column(accuracy),
      Column(under_attack, _XENT),
      Column(number("zero_gradients"), _XENT),
      Column(under_attack, _CW),
    ],
  ),
  ("figure14_mnist", 0): Shown(
    [_of(f"figure14_mnist/{x}") for x in ("undefended", "or0.1")], [None, *_AVERAGED]
  ),
  ("figure15_cifar10", 0): Shown(
    [
      _of(f"figure15_cifar10/{x}", num_samples=k)
      for x in ("undefended", "or0.1")
      for k in (1, 10, 50, 100)
    ],
    [
      *(None, None, Column(number("claimed")), Column(CLEAN)),
      *map(Column, map(number, ("defended_success_rate", "noise_error_rate", "l2"))),
    ],
  ),
  ("figure17_mnist", 0): Shown(
    [
      _of("figure17_mnist", substitute=f"convnet_mnist{x}-substitute")
      for x in ("", "-or10", "-or100", "-or1000")
    ],
    [
      None,
      Column(under_attack, _XENT),
      Column(number("zero_gradients"), _XENT),
      *(Column(under_attack, {"loss": x}) for x in ("cw", "cw_unbounded", "xent_by_margin")),
    ],
  ),
  ("figure2_mnist", 0): Shown(
    [_of(f"figure2_mnist/{x}", strength=1e-4) for x in ("untargeted", "targeted")],
    [None, None, Column(lambda found: f"{CLEAN(found)}, {len(found.trials)} images")],
  ),
  ("figure3_mnist", 0): Shown(
    [{"num_samples": k} for k in (1, 10, 50, 100)],
    [None, *(Column(clean_and_claimed, _of(f"figure3_mnist/{x}")) for x in ("adam", "newton"))],
  ),
  ("figure4_cifar10", 0): Shown(
    [_of("figure4_cifar10", **loss) for loss in (_XENT, _CW)],
    [None, Column(under_attack), Column(number("zero_gradients"))],
  ),
  ("figure5_mnist", 0): Shown(
    [_of("figure5_mnist/untargeted", strength=x) for x in _VARIANCES],
    [
      *(None, Column(CLAIMED), Column(CLEAN)),
      *map(Column, map(number, ("defended_success_rate", "l2"))),
    ],
  ),
  ("figure6_mnist", 0): Shown(
    [_of("figure6_mnist/untargeted", strength=x) for x in _VARIANCES[1:]], [None, *_AVERAGED]
  ),
  ("figure7_mnist", 0): Shown(
    [_of("figure7_mnist", spacing=h) for h in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)],
    [None, *(Column(clean_and_distance, {"strength": x}) for x in (0.0, 0.01))],
  ),
  ("headline_mnist", 0): Shown(
    _HEADLINE, [None, None, *map(Column, (steps, CLAIMED, CLEAN, DEFENDED, distance, accuracy))]
  ),
  ("headline_mnist", 1): Shown(
    [_HEADLINE[i] for i in (5, 7, 8, 9)], [None, None, Column(cost_of_noise)]
  ),
  ("headline_mnist", 2): Shown(
    [_HEADLINE[0], *_HEADLINE[4:]], [None, None, *map(within, (1.0, 1.5, 2.0, 2.5, 3.0))]
  ),
  ("headline_mnist", 3): Shown(
    [
      [_of(f"headline_mnist/{x}", strength=y)]
      for y in (1e-6, *_VARIANCES[1:])
      for x in ("zoo", "zoo_zero")
    ],
    [None, None, *map(Column, (CLAIMED, CLEAN)), Column(number("median_steps"))],
  ),
  ("informed_mnist", 0): Shown(
    [
      *(_UNDEFENDED, _PUBLISHED_ZOO),
      *(_of(f"informed_mnist/{x}") for x in ("patient_zoo", "zoo", "nes")),
      *_INFORMED_CW,
    ],
    [None, None, Column(steps), Column(CLEAN), Column(distance)],
  ),
  ("informed_mnist", 1): Shown(
    [
      *(_UNDEFENDED, _PUBLISHED_ZOO),
      *(_of("informed_mnist/zoo"), _of("informed_mnist/nes"), *_INFORMED_CW),
    ],
    [None, None, *map(within, (1.0, 1.5, 2.0, 2.5, 3.0))],
  ),
  ("informed_mnist", 2): Shown(
    [
      _of(f"informed_mnist/ablation/{x}")
      for x in ("none", "start", "smoothing", "objective", "clipped_nes", "clipped_zoo")
    ],
    [None, Column(CLEAN), Column(distance)],
  ),
  ("presets_small", 0): Shown(
    [_of(f"presets_small/{a}_{d}") for a in ("ql", "bandits") for d in ("mnist", "cifar10")],
    [None, None, Column(CLEAN), Column(number("median_queries"))],
  ),
  ("table1_imagenet", 0): Shown(
    [
      _of(f"table1_imagenet/{attack}", strength=x)
      for attack in ("zoo", "ql", "bandits")
      for x in _VARIANCES
    ],
    [
      *(None, None, Column(in_table_1), Column(lambda found: str(len(found.trials)))),
      *map(Column, (CLAIMED, CLEAN, DEFENDED, ERRORS, accuracy_interval, distance)),
      *map(Column, (queries_to_success, number("median_queries"))),
    ],
  ),
  ("table2", 0): Shown(
    [_of(f"table2/{x}") for x in _TABLE_2],
    [
      *(None, None, Column(trained), beside_table_2(accuracy, 0)),
      *(beside_table_2(published("xent", left).show, 1), _ZEROS),
      *(beside_table_2(published("cw", left).show, 2), Column(worst)),
    ],
  ),
  ("table2", 1): Shown(
    [
      {**_OF_RESNET, **_XENT},
      {**_OF_RESNET, **_XENT, "restarts": 10},
      [{**_OF_RESNET, **_XENT, "steps": x} for x in (40, 200)],
      {**_OF_RESNET, **_XENT, "float64": True},
      *({**_OF_RESNET, "loss": x} for x in ("xent_by_stddev", "xent_by_margin", "dlr")),
      {**_OF_RESNET, **_CW, "substitute": "resnet32_cifar10"},
    ],
    [None, Column(under_attack)],
  ),
  ("table4_mnist", 0): Shown(
    [_of(f"table4_mnist/{x}_0.5{full}") for x in _PLACES for full in ("", "_full")],
    [
      *(None, None, Column(accuracy_interval)),
      *(Column(under_attack, loss) for loss in (_XENT, _CW)),
    ],
  ),
}
# Tables without a ledger, and why.
NOT_RECORDED = {
  ("README.md", 3): "what the mains do, in words",
  ("README.md", 4): "speed, measured once",
  ("README.md", 5): "speed, measured once",
}
