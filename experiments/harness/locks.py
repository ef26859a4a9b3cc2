"""One folder, one writer: a lock that the death of its holder releases, on any file system."""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
import time

_BUSY = (errno.EACCES, errno.EAGAIN)
_HELD: set[pathlib.Path] = set()  # closing a second handle would release the first one's lock
_LOG = logging.getLogger("orjax")


@contextlib.contextmanager
def only_writer(folder: str | os.PathLike, flag: str, process: int = 0) -> Iterator[None]:
  """Holds the lock of a folder; the processes of one job hold one each.

  A POSIX record lock: the kernel, or the server of a network file system, releases it when
  its holder dies. The file says who holds it and stays behind, unlocked.

  Args:
    folder: which is there.
    flag: that names another folder, for the message.
    process: number of this process in its job.

  Raises:
    ValueError: another process holds it; the message says which.
  """
  path = pathlib.Path(folder, f".lock-{process}" if process else ".lock").resolve()
  if path in _HELD:
    yield
    return
  # Not truncated: a holder's name must stay readable.
  with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
    try:
      fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
      if e.errno not in _BUSY:  # a file system without locks
        _LOG.warning("%s cannot be locked (%s): let one run at a time write to it", folder, e)
        yield
        return
      holder = file.read().strip() or "another process"
      raise ValueError(
        f"{folder} is being written by {holder}: wait for it or end it, or pass another {flag}"
      ) from e
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
    file.flush()
    _HELD.add(path)
    try:
      yield
    finally:
      _HELD.remove(path)
      file.seek(0)
      file.truncate(0)
      file.flush()
