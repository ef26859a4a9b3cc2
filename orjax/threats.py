"""Who answers whom: a defense as a value, and the threat model made of it."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from orjax.types import Oracle


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
