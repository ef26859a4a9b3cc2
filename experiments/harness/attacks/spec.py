"""What a main needs to know of an attack; each has a file of its own beside this one."""

from collections.abc import Callable
from collections.abc import Mapping
import inspect
import itertools
from typing import Any
from typing import NamedTuple

from harness.attacks import flags
from harness.attacks import shared
from harness.recipes import Recipe
from harness.request import Option
from orjax.types import Attack
from orjax.types import Objective

ACCESS = ("answers", "gradients", "logits")


class AttackSpec(NamedTuple):
  """An attack of the mains.

  Attributes:
    build: `build(objective, *, radius, num_pairs, ...) -> Attack`: its keywords are the flags
      that it takes, with their defaults for any data.
    numbers: {(data set, norm): published numbers} where they are others; the norm is None for
      attacks without a `norm`, the data set for any data. Beside keywords of `build` they hold
      `max_queries` and `objective`.
    access: what the attacker sees: `answers`; `gradients` through them; or the `logits` and
      theirs.
    check: `check(numbers, given, targeted)` raises ValueError for what does not go together.
    swept: keywords of `build` whose flag may be repeated for a sweep.
    options: further flags of its own.
    plan: `plan(request, victim) -> list[Variant]` where a sweep is more than a product.
    takes_logs: whether an attack on logits also goes through a defense of probabilities, as an
      attack on their logarithms.
  """

  build: Callable[..., Attack]
  numbers: Mapping[tuple[str | None, str | None], Mapping[str, Any]]
  access: str = "answers"
  check: Callable[[dict[str, Any], frozenset[str], bool], None] = lambda *_: None
  swept: tuple[str, ...] = ()
  options: tuple[Option, ...] = ()
  plan: Callable[..., list] | None = None
  takes_logs: bool = False

  def keywords(self) -> dict[str, Any]:
    """The keywords of `build` and their defaults."""
    parameters = inspect.signature(self.build).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

  def all_options(self) -> list[Option]:
    """The options that the attack takes, its objective's included."""
    own = {option.name: option for option in self.options}
    objective = () if self.access == "logits" else flags.OBJECTIVE
    numbers = [own.get(name) or flags.BY_NAME[name] for name in self.keywords()]
    return [
      *flags.SHARED,
      *objective,
      *numbers,
      *(o for o in self.options if o.name not in self.keywords()),
    ]

  def defaults(self, dataset: str | None, norm: str | None) -> dict[str, Any]:
    """The published numbers for a data set, or those for any data."""
    norm = norm if "norm" in self.keywords() else None
    published = self.numbers.get((dataset, norm), self.numbers.get((None, norm), {}))
    found = {"max_queries": 10_000_000, **self.keywords(), **published}
    missing = [name for name, x in found.items() if x is inspect.Parameter.empty]
    if missing:
      raise TypeError(f"the attack has no default for {missing[0]}")
    return {**found, **({"norm": norm} if norm else {})}


class Variant(NamedTuple):
  """One attack of a sweep.

  Attributes:
    num_samples: answers the attacker averages.
    setting: the record's, what the sweep varies.
    attack: what attacks.
    objective: what it wants.
    float64: whether all of it is computed in float64.
    substitute: whose gradients are followed; None means the attacked network's.
    begin: networks on which the attack looks for its start.
    begun: `begun(*networks) -> Attack` with that start, where each network maps images
      [B, H, W, C] to logits [B, K]; it asks as much a step as `attack` does.
  """

  num_samples: int
  setting: dict[str, Any]
  attack: Attack
  objective: Objective
  float64: bool = False
  substitute: Recipe | None = None
  begin: tuple[Recipe, ...] = ()
  begun: Callable[..., Attack] | None = None

  @property
  def others(self) -> tuple[Recipe, ...]:
    """All networks that it needs beside the attacked one."""
    return (*self.begin, *([self.substitute] if self.substitute else []))


class Victim(NamedTuple):
  """What a plan may depend on of what is attacked.

  Attributes:
    recipe: of a network of orjax's; None of a user's model.
    random: whether its answers are random beside what a server adds to them.
    computes_float64: `computes_float64() -> bool`.
    name_of: `name_of(recipe) -> str` of a substitute.
    defense: what is put before it, by name or as the flags say it.
  """

  recipe: Recipe | None
  random: bool
  computes_float64: Callable[[], bool]
  name_of: Callable[[Recipe], str]
  defense: str = "none"


class AttackRequest(NamedTuple):
  """Which attack.

  Attributes:
    name: of its file.
    spec: of it.
    targeted: whether it is towards a class.
    all_targets: whether towards every other one.
    max_queries: per trial.
    num_samples: answers averaged per query, swept.
    server_clips: whether the server clips images first.
    numbers: of `spec.build`, and what the objective is.
    own: values of the spec's own options.
    given: flags that were given.
    answers: what the server answers, probabilities or logits.
    takes_logs: whether a defense answers probabilities, of which the attacker takes the logs.
  """

  name: str
  spec: AttackSpec
  targeted: bool
  all_targets: bool
  max_queries: int
  num_samples: list[int]
  server_clips: bool
  numbers: dict[str, Any]
  own: dict[str, Any]
  given: frozenset[str]
  answers: str = "probabilities"
  takes_logs: bool = False

  @property
  def sees_logits(self) -> bool:
    """Whether the attacker's answers are logits."""
    return self.answers == "logits" or (self.spec.access == "logits" and not self.takes_logs)


def variants(asked: AttackRequest) -> list[Variant]:
  """One for each number of answers averaged and each value of what the spec sweeps.

  Raises:
    ValueError: numbers that no attack can use.
  """
  wanted = shared.objective(asked.numbers, asked.given, asked.targeted)
  keywords = {name: asked.numbers[name] for name in asked.spec.keywords()}
  swept = [x if isinstance(x, list) else [x] for x in map(keywords.get, asked.spec.swept)]
  settings = [dict(zip(asked.spec.swept, each)) for each in itertools.product(*swept)]
  return [
    Variant(num_samples, setting, asked.spec.build(wanted, **{**keywords, **setting}), wanted)
    for num_samples, setting in itertools.product(asked.num_samples, settings)
  ]
