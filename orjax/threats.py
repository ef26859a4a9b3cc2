"""Who answers whom: a defense as a value, and the threat model made of it."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np

from orjax import factories
from orjax.types import Oracle


class Defense(NamedTuple):
  """What a server makes of a classifier's answers, swept over a strength.

  Attributes:
    name: what records say; "none" where nothing is added.
    wrap: `wrap(oracle, setting) -> Oracle`, with `setting` from `settings`, traced: one
      program serves all strengths.
    settings: `settings(strength) -> {name: number}`, from the strength on its axis to the
      numbers that `wrap` computes with; it runs on the host.
    axis: what the strength is, for tables and figures, such as "noise variance".
    default: strengths that are swept when nobody asks for others, from the weakest to the
      strongest: a calibration goes on from there.
  """

  name: str
  wrap: Callable[[Oracle, Any], Oracle]
  settings: Callable[[float], dict[str, Any]]
  axis: str = "strength"
  default: tuple[float, ...] = (0.0,)

  def __repr__(self):
    return factories.told(self)


class ThreatModel(NamedTuple):
  """Who answers whom; each makes an `Oracle` inside the traced program.

  Attributes:
    clean: `clean(variables)`: the undefended model, asked by the verification only.
    defended: `defended(variables, setting)`: the server.
    asked: `asked(variables, setting)`: what the attacker makes of the server.
  """

  clean: Callable[[Any], Oracle]
  defended: Callable[[Any, Any], Oracle]
  asked: Callable[[Any, Any], Oracle]


def traced(setting: Mapping[str, Any]) -> dict[str, Any]:
  """A setting as programs take it: float32; what is traced already is no host's number."""
  as_float32 = lambda x: x.astype(np.float32) if hasattr(x, "aval") else np.asarray(x, np.float32)
  return {name: as_float32(x) for name, x in setting.items()}


@factories.factory
def threat_model(
  classifier: Callable[[Any], Oracle],
  defense: Defense,
  *,
  attacker: Callable[[Oracle], Oracle] = lambda oracle: oracle,
  asks: Callable[[Any], Oracle] | None = None,
  judge: Callable[[Any], Oracle] | None = None,
) -> ThreatModel:
  """Puts a defense in front of a classifier, and an attacker before it.

  Args:
    classifier: `classifier(variables) -> Oracle`, undefended.
    defense: what the server adds.
    attacker: what the attacker makes of the oracle that it asks, such as
      `functools.partial(oracles.averaged, num_samples=100)`.
    asks: `asks(variables) -> Oracle`: whom a transfer attacker asks instead of the server,
      such as a network of its own.
    judge: `judge(variables) -> Oracle`: the undefended model that the verification asks, where
      the classifier's own answers are defended already.

  Returns:
    A `ThreatModel` of the classifier's variables; with `asks`, of a pair: the variables of
    the classifier, and those of the substitute.

  Example:
    classifier = lambda variables: oracles.from_predict(predict, variables)
    threat_model(classifier, defenses.output_noise())
  """

  def own(variables):
    return variables if asks is None else variables[0]

  def clean(variables):
    return (judge or classifier)(own(variables))

  def defended(variables, setting):
    return defense.wrap(classifier(own(variables)), setting)

  def asked(variables, setting):
    return attacker(defended(variables, setting) if asks is None else asks(variables[1]))

  return ThreatModel(clean, defended, asked)
