"""The book as Markdown and as HTML: each figure beside the paper's numbers and sentences."""

from collections import Counter
from collections.abc import Mapping
import html
import os
import pathlib
from typing import NamedTuple

from harness.book import evidence
from harness.book import runs
from harness.book.evidence import Found
from harness.book.rows import Row
from harness.report import tables
from orjax import files

_STYLE = (
  "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
  "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.2em .6em;"
  "text-align:left}img{max-width:100%}code{font-size:.85em}.same{background:#e6f4e6}"
  ".differs{background:#fbe5e1}.open{background:#f3f3f3}"
)
_MOST_CLAIMS = 3  # of a row, in an index
_LOOKS = {"inside the interval": "same", "same direction": "same", "differs": "differs"}
_TINY = (
  "At this scale scikit-learn's digits stand for every data set, and a few images for all: it "
  "shows that everything runs, and no number of it is comparable with the paper's."
)


class Chapter(NamedTuple):
  """A row, and what became of it.

  Attributes:
    row: of the book.
    folders: of its runs, below the book's.
    found: its claims.
    lines: of its commands, with the minutes they took, or why they did not run.
    pictures: below the book's folder.
    missing: why there is nothing, or None.
  """

  row: Row
  folders: list[str]
  found: list[Found]
  lines: list[tuple[str, str]]
  pictures: list[str]
  missing: str | None


def chapter(row: Row, scale: str, out: pathlib.Path, done: Mapping[str, dict]) -> Chapter:
  """What became of a row at some scale."""
  planned = row.runs.get(scale, ())
  folders = {run.name: out / row.folder(run) for run in planned}
  lines = []
  for run in planned:
    known = done.get(row.folder(run))
    if known is None:
      told = "made before" if any(folders[run.name].glob("*")) else "not run"
    elif known["failure"]:
      told = f"failed: {known['failure']}"
    else:
      told = f"{known['minutes']:.1f} minutes"
    line = " ".join(runs.command(runs.Planned(row.folder(run), run), pathlib.Path("OUT"), []))
    lines.append((f"python {line}", told))
  # Of several folders in one, their common pictures lie beside them.
  places = dict.fromkeys(p for x in folders.values() for p in (x.parent, x) if p != out)
  pictures = [
    os.fspath(path.relative_to(out))
    for place in places
    for path in sorted(place.glob("*.png"))
    if path.name != "pictures.png"
  ]
  found = [evidence.judged(claim, folders) for claim in row.claims]
  below = [row.folder(run) for run in planned]
  return Chapter(row, below, found, lines, pictures, row.why_not.get(scale))


def index(chapters: list[Chapter], folder: str) -> str:
  """A table of a line a row: the paper's sentence, and what was measured.

  Args:
    chapters: of the book.
    folder: of the book, as links from the table's file reach it.
  """
  body = [
    [_linked(each, folder), each.row.paper, _measured(each), _agreements(each)] for each in chapters
  ]
  return tables.markdown(["row", "the paper", "here (95 %)", "agreement"], body)


def _linked(each, folder):
  """Its name, with links to the pages about its folders."""
  tops = dict.fromkeys(below.split("/")[0] for below in each.folders)
  links = [f"[{top}]({folder}/{top}/README.md)" for top in tops]
  return ": ".join(filter(None, [each.row.name, ", ".join(links)]))


def _measured(each):
  """Its first claims beside what was measured, and how many more there are."""
  found = [found for found in each.found if found.measured]
  told = [f"{x.claim.text}: {x.measured}" for x in found[:_MOST_CLAIMS]]
  more = len(found) - len(told)
  told += [f"{more} more in the book"] if more else []
  told += [each.missing] if each.missing else []
  return "; ".join(told) or "drawn, nothing to compare"


def markdown(chapters: list[Chapter], out: pathlib.Path, scale: str) -> str:
  """The book as Markdown; see `write`."""
  note = f"{_TINY}\n\n" if scale == "tiny" else ""
  return (
    f"# The paper's figures and tables ({scale})\n\n{_about(chapters, out, scale)}\n\n{note}"
    f"{evidence.RULE}\n\n" + "\n".join(map(_markdown, chapters))
  )


def write(chapters: list[Chapter], out: pathlib.Path, scale: str) -> str:
  """Writes book.md and book.html; returns a summary of a line a row.

  Args:
    chapters: of the book.
    out: its folder.
    scale: of all runs.
  """
  files.write_text(out / "book.md", markdown(chapters, out, scale))
  note = _TINY if scale == "tiny" else ""
  body = "\n".join(map(_html, chapters))
  files.write_text(
    out / "book.html",
    f"<!doctype html><meta charset='utf-8'><title>The paper's figures and tables</title>"
    f"<style>{_STYLE}</style><h1>The paper's figures and tables ({scale})</h1>"
    f"<p>{html.escape(_about(chapters, out, scale))}</p><p>{note}</p>"
    f"<p>{_emphasised(evidence.RULE)}</p>{body}",
  )
  rows = [[each.row.name, each.row.title, _agreements(each)] for each in chapters]
  return tables.markdown(["row", "what", "agreement"], rows)


def _about(chapters, out, scale):
  """On what it ran, and how many of its claims agree."""
  counts = Counter(found.agreement for each in chapters for found in each.found)
  head = ", ".join(f"{number} {name}" for name, number in counts.most_common())
  return f"{_hardware(chapters, out, scale)}. Of all claims: {head}."


def _hardware(chapters, out, scale):
  """Devices and versions of JAX that the manifests name."""
  found = set()
  for planned in runs.planned((each.row for each in chapters), scale):
    manifest = out / planned.folder / "manifest.json"
    if manifest.exists():
      about = files.read_json(manifest, advice="remove the folder").get("about", {})
      for made_by in (about, *about.get("continued", [])):
        devices = ", ".join(sorted(set(made_by.get("devices", []))))
        found.add(f"{devices}, jax {made_by.get('versions', {}).get('jax', '?')}")
  return "; ".join(sorted(found)) or "Nothing was run yet"


def _agreements(each):
  if not each.found:
    return "shown, nothing to compare" if each.pictures else "not run"
  counts = Counter(found.agreement for found in each.found)
  return ", ".join(f"{number} {name}" for name, number in counts.most_common())


_HEADER = ["claim", "paper", "here (95 %)", "compared with", "agreement"]


def _cells(found):
  claim = found.claim
  against = (
    "-" if claim.direction is None else f"{claim.direction} than {found.against or 'not run'}"
  )
  return [
    claim.text,
    "in words" if claim.paper is None else f"{claim.paper:g}",
    str(found.measured or "not run"),
    against,
    found.agreement,
  ]


def _markdown(each):
  row = each.row
  lines = [f"## {row.name}: {row.title}", "", f"Paper: {row.paper}", ""]
  if each.found:
    lines += [tables.markdown(_HEADER, [_cells(found) for found in each.found]), ""]
  if each.missing:
    lines += [f"Not run: {each.missing}.", ""]
  lines += [f"![{row.title}]({picture})" for picture in each.pictures]
  lines += ["", *(f"- `{line}`: {told}" for line, told in each.lines), ""]
  return "\n".join(lines)


def _html(each):
  row, escape = each.row, html.escape
  lines = [f"<h2>{row.name}: {escape(row.title)}</h2><p>Paper: {escape(row.paper)}</p>"]
  if each.found:
    head = "".join(f"<th>{escape(name)}</th>" for name in _HEADER)
    lines.append(f"<table><tr>{head}</tr>")
    for found in each.found:
      look = _LOOKS.get(found.agreement, "open")
      cells = "".join(f"<td>{escape(cell)}</td>" for cell in _cells(found))
      lines.append(f"<tr class='{look}'>{cells}</tr>")
    lines.append("</table>")
  if each.missing:
    lines.append(f"<p>Not run: {escape(each.missing)}.</p>")
  lines += [f"<img src='{escape(x)}' alt='{escape(row.title)}'>" for x in each.pictures]
  items = "".join(f"<li><code>{escape(line)}</code>: {escape(told)}" for line, told in each.lines)
  return "\n".join([*lines, f"<ul>{items}</ul>"])


def _emphasised(text):
  parts = html.escape(text).split("*")
  return "".join(f"<em>{x}</em>" if i % 2 else x for i, x in enumerate(parts))
