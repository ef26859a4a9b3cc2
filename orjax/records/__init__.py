"""Ledgers, manifests and what is computed from them. NumPy only, no JAX.

A folder of records holds `records.jsonl` (one finished trial a line; a process of a
multi-host run writes `records-<process>.jsonl`) with its checksums `records.sums`,
`manifest.json` (what was asked for and by what), `accuracy.json` (accuracy through the
defense, by strength), `pictures.npz` (a few images, for people) and `traces.json` (losses of
a few trials). The first two are the truth, and damage to them is an error; what can be made
again, or is for people, is set aside where it is damaged.
"""

from orjax.records.accuracy import kept_accuracy
from orjax.records.accuracy import read_accuracy
from orjax.records.accuracy import strength_key
from orjax.records.accuracy import write_accuracy
from orjax.records.fields import FIELDS
from orjax.records.fields import identity
from orjax.records.fields import modern
from orjax.records.folder import make_folder
from orjax.records.folder import read_json
from orjax.records.folder import write_json
from orjax.records.ledger import Ledger
from orjax.records.ledger import missing
from orjax.records.ledger import read
from orjax.records.manifest import check_manifest
from orjax.records.manifest import note_continued
from orjax.records.manifest import read_manifest
from orjax.records.manifest import request_digest
from orjax.records.manifest import SCHEMA
from orjax.records.outcomes import record
from orjax.records.paired import paired_interval
from orjax.records.pictures import add_pictures
from orjax.records.pictures import picture_name
from orjax.records.pictures import read_pictures
from orjax.records.statistics import group
from orjax.records.statistics import run_error
from orjax.records.statistics import summarise
from orjax.records.statistics import wilson
from orjax.records.traces import read_traces
from orjax.records.traces import write_traces

__all__ = [
  "FIELDS",
  "SCHEMA",
  "Ledger",
  "add_pictures",
  "check_manifest",
  "group",
  "identity",
  "kept_accuracy",
  "make_folder",
  "missing",
  "modern",
  "note_continued",
  "paired_interval",
  "picture_name",
  "read",
  "read_accuracy",
  "read_json",
  "read_manifest",
  "read_pictures",
  "read_traces",
  "record",
  "request_digest",
  "run_error",
  "strength_key",
  "summarise",
  "wilson",
  "write_accuracy",
  "write_json",
  "write_traces",
]
