"""Manifests: what the records of a folder were asked for, and by what."""

import json
import os
import pathlib

from orjax import files
from orjax.records.fields import first_defense
from orjax.records.folder import ELSEWHERE
from orjax.records.folder import numbered
from orjax.records.folder import read_json
from orjax.records.folder import write_json

# The form of a manifest. The first, without a number, knew one defense, output noise.
SCHEMA = 2
_NAME = "manifest.json"
# Of `about`: what else the records depend on, in their last bits at least.
_MADE_BY = ("versions", "python", "git_commit", "devices", "prng", "xla_flags")
# What the strength of a defense was, in ledgers of the first form.
_AXES = {
  "none": "strength",
  "output_noise": "noise variance",
  "inner_noise": "stddev inside the network",
}


def check_manifest(
  directory: str | os.PathLike, request: dict, about: dict, defaults: dict | None = None
) -> None:
  """Writes the folder's manifest, or checks that it is of the same request.

  A name that one of the two lacks has its default, so that a folder outlives new flags.

  Args:
    directory: from `make_folder`.
    request: everything that the records depend on, by name.
    about: facts for the reader: versions, device, commit, `axis` of the strength.
    defaults: values of names that a request need not have; None, and nothing (0, False,
      an empty list), of those that are not there.

  Raises:
    ValueError: it holds records of another request, and the message says what differs; or
      records of which no manifest says what they were asked for; or its manifest is damaged
      or of a later orjax.
    OSError: its manifest cannot be read or written.
  """
  if not os.path.lexists(pathlib.Path(directory, _NAME)):
    _refuse_orphans(directory)
    manifest = {"schema": SCHEMA, "request": request, "about": about}
    write_json(pathlib.Path(directory, _NAME), manifest)
    return
  kept = read_manifest(directory)["request"]
  wanted, usual = (json.loads(json.dumps(values or {})) for values in (request, defaults))
  for name in sorted(kept.keys() | wanted.keys()):
    if _meaning(name, kept, usual) != _meaning(name, wanted, usual):
      had, now = (values.get(name, usual.get(name)) for values in (kept, wanted))
      raise ValueError(
        f"{directory} holds records for {name}={had!r}, not "
        f"{now!r}: pass another --out or the flags in its manifest.json"
      )


def note_continued(directory: str | os.PathLike, about: dict, num_records: int) -> None:
  """Notes in a manifest who makes the records from here on, if not who made those so far.

  Another device, version, commit or XLA flag is added to `about["continued"]`, a list in
  order, each with the number of records that the folder held.

  Args:
    directory: with a manifest.
    about: as of `check_manifest`.
    num_records: finished trials so far.

  Raises:
    FileNotFoundError: the folder has no manifest.
    ValueError: its manifest is damaged.
    OSError: it cannot be written.
  """
  manifest = read_manifest(directory)
  kept, now = manifest["about"], json.loads(json.dumps(about))
  continued = kept.get("continued", [])
  last = (continued or [kept])[-1]
  made_by = {name: now[name] for name in _MADE_BY if name in now}
  if made_by != {name: last[name] for name in _MADE_BY if name in last}:
    continued = [*continued, {"num_records": num_records, **made_by}]
    kept = {**kept, "continued": continued}
    write_json(pathlib.Path(directory, _NAME), {**manifest, "about": kept})


def _refuse_orphans(directory):
  """Raises ValueError for work of which nothing says what it was asked for."""
  folder = pathlib.Path(directory)
  ledgers = [path for path in numbered(folder, "records", ".jsonl") if path.stat().st_size]
  others = [*folder.glob("accuracy.json"), *sorted(folder.glob("snapshot*.npz"))]
  found = [path.name for path in (*ledgers, *others)]
  if found:
    raise ValueError(
      f"{directory} holds {', '.join(found)} but no {_NAME}, which says what they were asked for: "
      f"restore it, or pass another --out"
    )


def _meaning(name, values, defaults):
  """What a request says about a name, so that two can be compared."""
  value = values.get(name)
  if value is None:
    value = defaults.get(name)
  if isinstance(value, list) and len(value) == 1:  # a sweep of one value is that value
    value = value[0]
  return value if name in defaults else value or None


def read_manifest(directory: str | os.PathLike) -> dict:
  """The manifest of a folder in today's form: `schema`, `request` and `about`.

  Raises:
    FileNotFoundError: the folder has none.
    ValueError: it is of a later orjax, or damaged.
  """
  manifest = read_json(directory, _NAME)
  schema = manifest.get("schema", 1)
  if not isinstance(schema, int) or schema < 1:
    raise _damaged(directory, f"its schema is {schema!r}")
  if schema > SCHEMA:
    raise ValueError(
      f"{directory} was written by a newer orjax (its manifest.json has schema {schema}, this "
      f"one knows {SCHEMA}): update orjax, or pass another --out"
    )
  asked = "asked" if schema == 1 else "request"
  if not manifest.keys() >= {asked, "about"}:
    raise ValueError(f"{directory}/{_NAME} is about no records: pass another --out")
  for name in (asked, "about"):
    if not isinstance(manifest[name], dict):
      raise _damaged(directory, f"its {name} is {manifest[name]!r}, not names and values")
  if schema > 1:
    unknown = sorted(manifest.keys() - {"schema", asked, "about"})
    if unknown:
      raise _damaged(directory, f"it has {unknown[0]!r}, which no manifest has")
    return manifest
  try:
    return _modern(manifest)
  except (KeyError, TypeError, AttributeError) as e:
    raise _damaged(directory, f"its asked is none of an older orjax: {files.text_of(e)}") from e


def _damaged(directory, reason):
  return files.Damaged(pathlib.Path(directory, _NAME), reason, ELSEWHERE)


def _modern(manifest):
  """Of one of the first form, where `defense` was what a network was trained with."""
  request, about = dict(manifest["asked"]), dict(manifest["about"])
  trained_with, variances = request.pop("defense", None), request.pop("variance", [0.0])
  on_at_test_time = request.pop("test_noise", True)
  defense = first_defense(request.get("attack"))
  inside = (
    "or" in (trained_with or "").split("+")
    and request.get("noise_location", "logits") != "logits"
    and on_at_test_time
  )
  if inside and defense == "none":
    defense, variances = "inner_noise", [request["stddev"]]
  request |= {"defense": defense, "strength": variances}
  # Of a user's own model nothing was known, and the flag had its default.
  if trained_with is not None and about.get("training") != {}:
    request["trained_with"] = trained_with
  if isinstance(request.get("num_samples"), int):
    request["num_samples"] = [request["num_samples"]]
  return {"schema": SCHEMA, "request": request, "about": {**about, "axis": _AXES[defense]}}


def known_request(directory: str | os.PathLike) -> dict:
  """What the records of a folder were asked for, as far as it says."""
  known = os.path.lexists(pathlib.Path(directory, _NAME))
  return read_manifest(directory)["request"] if known else {}


def request_digest(directory: str | os.PathLike) -> str:
  """A short digest of what a folder was asked for, by which its other files are known.

  Raises:
    FileNotFoundError: the folder has no manifest.
    ValueError: its manifest is damaged.
  """
  return files.digest(read_manifest(directory)["request"])
