"""Makes what a book needs: every command once, cheap ones first, as far as the time allows."""

from collections.abc import Iterable
import pathlib
import shlex
import subprocess
import sys
import time
from typing import NamedTuple

from harness.book.rows import Row
from harness.book.rows import Run
from orjax import files

FILE = "book.json"
_WITHOUT_A_NETWORK = ("theory_figures",)
_EXPERIMENTS = pathlib.Path(__file__).parents[2]


class Planned(NamedTuple):
  """A command of the book.

  Attributes:
    folder: of its results, below the book's.
    run: what makes them.
  """

  folder: str
  run: Run


def planned(rows: Iterable[Row], scale: str) -> list[Planned]:
  """The commands of some rows, each once, the cheapest first."""
  found = {row.folder(run): run for row in rows for run in row.runs.get(scale, ())}
  return [Planned(*each) for each in sorted(found.items(), key=lambda item: item[1].minutes)]


def command(each: Planned, out: pathlib.Path, extra: list[str]) -> list[str]:
  """Its command line, from the folder that holds experiments/."""
  main, *flags = shlex.split(each.run.line)
  extra = [] if main in _WITHOUT_A_NETWORK else extra
  return [f"experiments/{main}.py", *flags, *extra, f"--out={out / each.folder}"]


def known(out: pathlib.Path) -> dict[str, dict]:
  """What was run before, by folder: `line`, `minutes`, `failure` (None where it went well)."""
  path = out / FILE
  return files.optional(path, lambda: files.read_json(path, advice="remove it"), {}).get("runs", {})


def make(plan: list[Planned], out: pathlib.Path, hours: float, extra: list[str]) -> dict[str, dict]:
  """Runs what is not done, and says what became of each.

  A finished folder costs its main a look; a killed one goes on. A main that fails is told,
  and the others are run.

  Args:
    plan: the commands.
    out: the book's folder.
    hours: that all of it may take; what does not fit is left out.
    extra: flags for every main, such as `--model_dir`.

  Returns:
    As `known`; what was left out is not in it.
  """
  done, begin = known(out), time.monotonic()
  for number, each in enumerate(plan, 1):
    words = command(each, out, extra)
    line = shlex.join(words)
    if _is_done(done.get(each.folder), each):
      table = out / each.folder / "table.md"
      print(f"[{number} of {len(plan)}] done before: {line}")
      print(table.read_text() if table.exists() else "")
      continue
    left = 60 * hours - (time.monotonic() - begin) / 60
    if each.run.minutes > left:
      print(f"[{number} of {len(plan)}] left out, about {each.run.minutes:g} minutes: {line}")
      continue
    print(f"[{number} of {len(plan)}] about {each.run.minutes:g} minutes: {line}", flush=True)
    start = time.monotonic()
    failure = _run(words)
    minutes = (time.monotonic() - start) / 60
    if failure:
      print(f"  failed: {failure}", flush=True)
    before = done.get(each.folder, {}).get("minutes", 0.0)
    done[each.folder] = {
      "line": each.run.line,
      "minutes": round(before + minutes, 2),
      "failure": failure,
    }
    files.write_json(out / FILE, {"runs": done})
  return done


def _is_done(known_run, each):
  return bool(known_run) and known_run["line"] == each.run.line and known_run["failure"] is None


def _run(line):
  """Does a command, showing what it prints; returns None, or the sentence it failed with."""
  last = ""
  with subprocess.Popen(
    [sys.executable, *line],
    cwd=_EXPERIMENTS.parent,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    errors="replace",
  ) as process:
    assert process.stdout
    try:
      for text in process.stdout:
        print(f"  {text}", end="", flush=True)
        last = text.strip() or last
    except BaseException:
      process.terminate()  # it saves what it has
      raise
  return None if process.returncode == 0 else last or f"exit code {process.returncode}"
