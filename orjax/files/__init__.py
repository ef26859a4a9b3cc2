"""One reader and one writer for each kind of file.

What is written is whole at any moment: the old content or the new one, never a part. What is
read is what was written, or an error that names the file, says what is wrong with it and
what to do. NumPy only.
"""

from orjax.files.arrays import read_npz
from orjax.files.arrays import write_npz
from orjax.files.json_lines import append_line
from orjax.files.json_lines import Line
from orjax.files.json_lines import mend_lines
from orjax.files.json_lines import read_lines
from orjax.files.one_json import digest
from orjax.files.one_json import plain
from orjax.files.one_json import read_json
from orjax.files.one_json import write_json
from orjax.files.tensors import read_safetensors
from orjax.files.tensors import write_safetensors
from orjax.files.told import cannot_write
from orjax.files.told import Damaged
from orjax.files.told import opened
from orjax.files.told import text_of
from orjax.files.whole import make_folder
from orjax.files.whole import optional
from orjax.files.whole import remove_leftovers
from orjax.files.whole import replacing
from orjax.files.whole import set_aside
from orjax.files.whole import write_text

__all__ = [
  "Damaged",
  "Line",
  "append_line",
  "cannot_write",
  "digest",
  "make_folder",
  "mend_lines",
  "opened",
  "optional",
  "plain",
  "read_json",
  "read_lines",
  "read_npz",
  "read_safetensors",
  "remove_leftovers",
  "replacing",
  "set_aside",
  "text_of",
  "write_json",
  "write_npz",
  "write_safetensors",
  "write_text",
]
