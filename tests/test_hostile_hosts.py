"""Servers that fail in every way, through every client: what is asked again, and when."""

import datetime
from email.utils import format_datetime
import functools
import gc
import http.client
import http.server
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import scripted


def _wrapped(status, headers=None):
  """A client's error behind one of the user's, as in `raise ConnectionError from e`."""
  error = ConnectionError("not answered")
  error.__cause__ = scripted.HttpxHTTPStatusError(status, headers)
  return error


def _while_handling(status, headers=None):
  try:
    try:
      raise scripted.HttpxHTTPStatusError(status, headers)
    except scripted.HttpxHTTPStatusError:
      raise ConnectionError("not answered")  # noqa: B904
  except ConnectionError as e:
    return e


CLIENTS = {
  "urllib": scripted.urllib_error,
  "requests": scripted.RequestsHTTPError,
  "httpx": scripted.HttpxHTTPStatusError,
  "aiohttp": scripted.AiohttpResponseError,
  "wrapped": _wrapped,
  "while handling": _while_handling,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_a_busy_server_is_asked_again(client, status):
  fn = scripted.Script(*(CLIENTS[client](status) for _ in range(2)))
  endpoint = scripted.endpoint(fn)
  np.testing.assert_array_equal(endpoint.ask(scripted.IMAGES), scripted.answers(scripted.IMAGES))
  assert fn.calls == [6, 6, 6]
  assert (endpoint.num_rows, endpoint.num_requests) == (18, 3)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 413, 422, 451])
def test_a_refusal_is_not_asked_again(client, status):
  fn = scripted.Script(*(CLIENTS[client](status) for _ in range(9)))
  endpoint = scripted.endpoint(fn)
  with pytest.raises(
    OSError, match=f"refuses to answer, with HTTP status {status} .*check the address and the key"
  ):
    endpoint.ask(scripted.IMAGES)
  assert (endpoint.num_rows, endpoint.num_requests) == (6, 1)


@pytest.mark.parametrize("client", CLIENTS)
def test_what_the_server_wants_is_waited_for(client):
  waits = []
  make = CLIENTS[client]
  date = datetime.datetime.fromtimestamp(scripted.NOW + 25, datetime.UTC)
  date = format_datetime(date, usegmt=True)
  fn = scripted.Script(make(429, {"Retry-After": "7"}), make(503, {"Retry-After": date}), make(503))
  scripted.endpoint(fn, waits, attempts=4).ask(scripted.IMAGES)
  assert waits == [7.0, 25.0, 4.0]


@pytest.mark.parametrize(
  "wanted, waited",
  [
    ("0", 1.0),
    ("0.5", 1.0),
    ("1.5", 1.5),
    (" 9 ", 9.0),
    (9, 9.0),
    ("3600", 30.0),
    ("1e300", 30.0),
    ("-5", 1.0),
    ("nan", 1.0),
    ("inf", 1.0),
    ("soon", 1.0),
    ("", 1.0),
    (None, 1.0),
    (b"9", 1.0),
    ("Sun, 09 Sep 2001 01:46:50 GMT", 10.0),
    ("Sun, 09 Sep 2001 01:46:50 -0000", 10.0),
    ("Sun, 09 Sep 2001 01:40:00 GMT", 1.0),
    ("Sun, 99 Sep 2001 01:46:50 GMT", 1.0),
  ],
)
def test_odd_wishes_of_a_server(wanted, waited):
  waits = []
  fn = scripted.Script(scripted.RequestsHTTPError(429, {"retry-after": wanted}))
  scripted.endpoint(fn, waits, longest_wait=30.0).ask(scripted.IMAGES)
  assert waits == [waited]


def test_waits_are_doubled_drawn_and_bounded():
  draws = iter([0.0, 0.5, 1.0, 0.0, 0.0, 0.0])
  waits = []
  fn = scripted.Script(*(ConnectionError("lost") for _ in range(6)))
  endpoint = scripted.endpoint(
    fn, waits, attempts=7, first_wait=2.0, longest_wait=10.0, draw=lambda: next(draws)
  )
  endpoint.ask(scripted.IMAGES)
  assert waits == [2.0, 5.0, 12.0, 10.0, 10.0, 10.0]


# Lost connections.


@pytest.mark.parametrize(
  "error",
  [
    ConnectionResetError("reset"),
    TimeoutError("timed out"),
    OSError(113, "No route to host"),
    urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")),
    http.client.RemoteDisconnected("gone"),
    http.client.IncompleteRead(b"half"),
    http.client.BadStatusLine("\x1b[31mred"),
    scripted.ReadTimeout("slow"),
  ],
  ids=lambda e: type(e).__name__,
)
def test_a_lost_connection_is_asked_again(error):
  fn = scripted.Script(error)
  found = scripted.endpoint(fn).ask(scripted.IMAGES)
  np.testing.assert_array_equal(found, scripted.answers(scripted.IMAGES))
  assert len(fn.calls) == 2
  with pytest.raises(ConnectionError, match="did not answer 6 rows in 3 attempts") as caught:
    scripted.endpoint(scripted.Script(error, error, error)).ask(scripted.IMAGES)
  assert caught.value.__cause__ is error and type(error).__name__ in str(caught.value)


# A real server.


class _Server(http.server.BaseHTTPRequestHandler):
  """Answers as the next of `server.script` says; every answer is one connection."""

  def do_POST(self):
    body = self.rfile.read(int(self.headers["Content-Length"]))
    images = np.frombuffer(body, np.float32).reshape(-1, 4, 4, 1)
    self.server.num_rows += len(images)
    status, headers, mend = self.server.script.pop(0) if self.server.script else (200, {}, None)
    answer = scripted.answers(images).tobytes()
    answer = answer if mend is None else mend(answer)
    if answer is None:  # hangs up
      self.close_connection = True
      return
    self.send_response(status, "\x1b[31mno" if status >= 400 else None)
    for name, value in {"Content-Length": str(len(answer)), **headers}.items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(answer)

  def log_message(self, *unused):
    pass


@pytest.fixture
def server():
  server = http.server.HTTPServer(("127.0.0.1", 0), _Server)
  server.script, server.num_rows = [], 0
  thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
  thread.start()
  yield server
  server.shutdown()
  server.server_close()
  thread.join(10)
  gc.collect()  # sockets of lost connections, in the test that expects them


def _with_urllib(url, images):
  with urllib.request.urlopen(url, data=images.tobytes(), timeout=60) as reply:
    return np.frombuffer(reply.read(), np.float32).reshape(-1, 3)


def _with_requests(url, images):
  requests = pytest.importorskip("requests")
  reply = requests.post(url, data=images.tobytes(), timeout=60)
  reply.raise_for_status()
  return np.frombuffer(reply.content, np.float32).reshape(-1, 3)


def _with_httpx(url, images):
  httpx = pytest.importorskip("httpx")
  reply = httpx.post(url, content=images.tobytes(), timeout=60)
  reply.raise_for_status()
  return np.frombuffer(reply.content, np.float32).reshape(-1, 3)


REAL_CLIENTS = {"urllib": _with_urllib, "requests": _with_requests, "httpx": _with_httpx}


# Clients leave sockets of lost connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("client", REAL_CLIENTS)
def test_real_clients_and_a_real_server(server, client):
  url = f"http://127.0.0.1:{server.server_port}/"
  fn = functools.partial(REAL_CLIENTS[client], url)
  waits = []

  def ask(*script):
    server.script = list(script)
    return scripted.endpoint(fn, waits, attempts=2).ask(scripted.IMAGES)

  # Busy, a hang-up, and a body that is cut short are asked again.
  for script in ((429, {"Retry-After": "9"}, None), (503, {}, None), (200, {}, lambda x: None)):
    np.testing.assert_array_equal(ask(script), scripted.answers(scripted.IMAGES))
  np.testing.assert_array_equal(
    ask((200, {"Content-Length": "72"}, lambda x: x[:30])), scripted.answers(scripted.IMAGES)
  )
  assert waits == [9.0, 1.0, 1.0, 1.0]
  for status in (401, 404):
    with pytest.raises(OSError, match=f"HTTP status {status}") as caught:
      ask((status, {}, None))
    assert str(caught.value).isprintable()
  for mend in (lambda x: x[:-7], lambda x: b"<html>Please log in</html>", lambda x: b""):
    with pytest.raises(ValueError, match="the model's function.*must answer"):
      ask((200, {}, mend))
  assert len(waits) == 4
  server.shutdown()
  server.server_close()
  with pytest.raises(ConnectionError, match="did not answer 6 rows in 2 attempts"):
    scripted.endpoint(fn, attempts=2).ask(scripted.IMAGES)
