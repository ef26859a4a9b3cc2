"""Files that are whole at any moment: the old content or the new one, never a part."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import socket


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives the path of a temporary file beside `path`, which takes its place at the end.

  Where the block raises, or the process dies in it, `path` stays as it was. The temporary
  file has the suffix of `path`, and a name that no other process on any host uses.

  Args:
    path: of the file to write; its folder must exist.

  Yields:
    Where to write.

  Example:
    with files.replacing("manifest.json") as temporary:
      temporary.write_text(text)
  """
  path = pathlib.Path(path)
  owner = f"{socket.gethostname()}-{os.getpid()}"
  temporary = path.with_name(f".{path.stem}.{owner}.partial{path.suffix}")
  try:
    yield temporary
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)
