"""Flags, read once: a main declares its options, and gets their values checked and typed.

Every option says where it is defined whether records depend on it (`science`) or not. No JAX.
"""

from collections.abc import Iterable
import math
import textwrap
from typing import Any
from typing import NamedTuple

from absl import flags

# Groups of `--help`, in its order.
WHAT, HOW, HOW_MUCH, OUTPUT, SPEED = (
  "what is attacked",
  "how",
  "how much",
  "output",
  "speed and processes",
)
_GROUPS = (WHAT, HOW, HOW_MUCH, OUTPUT, SPEED)
_LARGEST = 2**31 - 1


class Option(NamedTuple):
  """One flag.

  Attributes:
    name: without dashes.
    kind: `boolean`, `integer`, `float`, `string` or `enum`.
    default: None where it depends on other flags; the help says on which.
    help: for people.
    group: of `--help`.
    science: whether records depend on it: it is part of a folder's manifest.
    many: whether it may be repeated; its value is a list.
    low: the smallest value of a number.
    above: what a number must exceed, instead of `low`.
    high: the largest.
    below: what a number must stay below, instead of `high`.
    choices: of an enum.
    may_be_empty: whether an empty string means something.
  """

  name: str
  kind: str
  default: Any
  help: str
  group: str = HOW
  science: bool = True
  many: bool = False
  low: float | None = None
  above: float | None = None
  high: float | None = None
  below: float | None = None
  choices: tuple[str, ...] = ()
  may_be_empty: bool = False


class Values(NamedTuple):
  """What a command line says: the value of every option, and which were given."""

  by_name: dict[str, Any]
  given: frozenset[str]

  def __getitem__(self, name: str) -> Any:
    return self.by_name[name]

  def named(self, *names: str) -> dict[str, Any]:
    """Values of some options, by name."""
    return {name: self.by_name[name] for name in names}


class DataRequest(NamedTuple):
  """Which images.

  Attributes:
    name: for records: the data set's, or of the user's file.
    dataset: of `datasets.NAMES`; None of the user's own.
    path: of the user's own; None of a data set.
    data_dir: of TFDS.
    split: of ImageNet.
    num_test_images: how many to choose from; None for all.
  """

  name: str
  dataset: str | None
  path: str | None
  data_dir: str
  split: str | None = None
  num_test_images: int | None = None


class HelpWanted(Exception):
  """The command line asks for help; the text is the message."""


def refuse_unneeded(values: Values, names: Iterable[str], reason: str) -> None:
  """Raises ValueError if one of these options was given where it means nothing."""
  for name in names:
    if name in values.given:
      raise ValueError(f"--{name} {reason}: leave it out")


def refuse_twice(values: Values, *names: str) -> None:
  """Raises ValueError if an option that is swept names a value twice."""
  for name in names:
    found = values[name]
    if found and len(set(found)) < len(found):
      raise ValueError(f"--{name} names a value twice: pass each once")


def parse(options: Iterable[Option], argv: list[str], about: str = "") -> Values:
  """Reads a command line, `argv[0]` being the program.

  What stands on the command line replaces what a `--flagfile` says, repeated options too.

  Raises:
    ValueError: an unknown or bad flag; the message is one sentence.
    HelpWanted: `--help` is among them.
  """
  options = list(options)
  line = [argv[0], *(x for x in argv[1:] if not _is_flagfile(x))]
  files = [argv[0], *(x for x in argv[1:] if _is_flagfile(x))]
  if any(x.lstrip("-") in ("help", "helpfull", "helpshort") for x in line[1:]):
    raise HelpWanted(_help(options, about))
  try:
    on_line, in_files = (_define(options) for _ in range(2))
    surplus = on_line(line)[1:] + in_files(files)[1:]
  except UnicodeDecodeError as e:
    raise ValueError(f"{' '.join(files[1:])} is no text: pass a file with a flag a line") from e
  except (flags.Error, OSError) as e:
    raise ValueError(f"{' '.join(str(e).split())} (--help lists the flags)") from e
  if surplus:
    raise ValueError(f"unexpected argument {surplus[0]!r}: flags start with --")
  found, given = {}, set()
  for option in options:
    source = on_line if on_line[option.name].present else in_files
    found[option.name] = source[option.name].value
    if source[option.name].present:
      given.add(option.name)
      _check(option, found[option.name])
  return Values(found, frozenset(given))


def line(options: Iterable[Option], values: Values) -> list[str]:
  """Flags of a command line that gives these options what they were given in `values`."""
  found = []
  for option in options:
    if option.name not in values.given:
      continue
    value = values[option.name]
    if option.kind == "boolean":
      found.append(f"--{'' if value else 'no'}{option.name}")
    else:
      found += [f"--{option.name}={x}" for x in (value if option.many else [value])]
  return found


def _is_flagfile(argument):
  return argument.lstrip("-").startswith("flagfile=")


def _define(options):
  values = flags.FlagValues()
  for option in options:
    kind = "multi_" * option.many + option.kind
    extra = {"enum_values": option.choices} if option.kind == "enum" else {}
    getattr(flags, f"DEFINE_{kind}")(
      option.name, option.default, help=option.help, flag_values=values, **extra
    )
  return values


def _check(option, found):
  for value in found if option.many else [found]:
    if option.kind == "string" and not value and not option.may_be_empty:
      raise ValueError(f"--{option.name} is empty: give it a value, or leave it out")
    if option.kind in ("integer", "float") and not _within(option, value):
      shown = f"{value:g}" if option.kind == "float" else value
      raise ValueError(f"--{option.name}={shown} must be {_bounds(option)}")


def _within(option, value):
  high = option.high if option.high is not None or option.kind == "float" else _LARGEST
  return (
    math.isfinite(value)
    and (option.low is None or value >= option.low)
    and (option.above is None or value > option.above)
    and (high is None or value <= high)
    and (option.below is None or value < option.below)
  )


def _bounds(option):
  """The bounds of a number, in words."""
  low = None if option.low is None else f"at least {option.low:g}"
  low = low if option.above is None else f"above {option.above:g}"
  high = None if option.high is None else f"at most {option.high:.10g}"
  high = high if option.below is None else f"below {option.below:g}"
  if option.kind == "integer" and high is None:
    high = f"at most {_LARGEST}"
  return " and ".join(x for x in (low, high or "finite") if x)


def _help(options, about):
  lines = [about.strip(), ""] if about else []
  for group in _GROUPS:
    members = [option for option in options if option.group == group]
    if not members:
      continue
    lines.append(f"{group}:")
    for option in members:
      form = f"--[no]{option.name}" if option.kind == "boolean" else f"--{option.name}"
      if option.choices:
        form += f"=<{'|'.join(option.choices)}>"
      marks = [] if option.science else ["no record depends on it"]
      marks += ["may be repeated"] if option.many else []
      if option.default is not None and option.default != []:
        marks.insert(0, f"default: {option.default}")
      text = f"{form}: {option.help}" + (f" ({'; '.join(marks)})" if marks else "")
      lines += textwrap.wrap(
        text, 100, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
      )
    lines.append("")
  lines.append("  --flagfile=FILE: read flags from a file; the command line replaces them")
  return "\n".join(lines)
