"""Models outside JAX: every row asked once, retries, limits, resume; a real HTTP server."""

import functools
import gc
import http.server
import threading
import time
import urllib.request

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import defenses
from orjax import host
from orjax import objectives
from orjax import oracles
from orjax import runner
from orjax.threats import threat_model


def _fn(images):
  """The linear model, by NumPy."""
  variables = jax.tree.map(np.asarray, linear_variables())
  logits = images.reshape(len(images), -1) @ variables["weights"] + variables["bias"]
  exponents = np.exp(logits - logits.max(-1, keepdims=True))
  return exponents / exponents.sum(-1, keepdims=True)


class _Counting:
  """Counts the rows it answers and the sizes of its calls."""

  def __init__(self, fn=_fn):
    self.fn, self.num_rows, self.calls = fn, 0, []

  def __call__(self, images):
    assert isinstance(images, np.ndarray) and images.dtype == np.float32
    answers = self.fn(images)
    self.num_rows += len(images)
    self.calls.append(len(images))
    return answers


ATTACKS = {
  "zoo": attacks.zoo(
    objectives.log_margin(), num_coordinates=8, binary_search_steps=2, max_steps=20, check_every=10
  ),
  "ql": attacks.ql(objectives.cross_entropy(), num_pairs=5, radius=0.1),
  "bandits": attacks.bandits(objectives.cross_entropy(), radius=0.1, prior_size=2),
  "nes": attacks.carlini_wagner(
    objectives.margin(),
    orjax.estimators.nes(num_pairs=5),
    max_steps=12,
    binary_search_steps=2,
    check_every=None,
    confirmations=3,
  ),
}


def _tasks(images, labels, stddevs=(0.0, 1e-2)):
  return [
    runner.Task(
      {"stddev": stddev, "index": i}, image, int(label), 0, i, {"stddev": np.float32(stddev)}
    )
    for stddev in stddevs
    for i, (image, label) in enumerate(zip(images, labels))
  ]


def _threats(clean, asked=None, num_samples=1):
  """Verdicts by `clean`; attacks ask the same, or `asked`, as it is behind the same noise."""
  attacker = functools.partial(oracles.averaged, num_samples=num_samples)
  judged, attacked = (
    threat_model(
      lambda variables, oracle=oracle: oracle, defenses.output_noise(), attacker=attacker
    )
    for oracle in (clean, asked or clean)
  )
  return judged._replace(asked=attacked.asked)


def _run(attack, threats, tasks, plan=runner.Plan(3, 7), **options):
  found = {}
  for outcome in runner.run(
    attack,
    objectives.log_margin(),
    threats,
    (),
    tasks,
    seed=0,
    max_queries=500,
    num_draws=10,
    plan=plan,
    **options,
  ):
    found[outcome.task.identity["stddev"], outcome.task.index] = outcome
  return found


@pytest.mark.parametrize("name", ATTACKS)
def test_as_a_jax_model_and_as_a_callable_the_records_are_the_same(name, linear_images):
  tasks = _tasks(*linear_images)
  inside = oracles.from_predict(linear_predict, linear_variables())
  fn = _Counting()
  outside = oracles.from_host(fn, 3)
  ours = _run(ATTACKS[name], _threats(inside), tasks)
  theirs = _run(ATTACKS[name], _threats(inside, outside), tasks)
  for key, outcome in ours.items():
    other = theirs[key]
    assert (outcome.num_queries, outcome.num_steps, outcome.claimed) == (
      other.num_queries,
      other.num_steps,
      other.claimed,
    )
    np.testing.assert_allclose(outcome.adversarial, other.adversarial, atol=2e-3)
  # The callable itself saw exactly the queries of the records, in few calls.
  assert fn.num_rows == sum(outcome.num_queries for outcome in theirs.values())
  assert len(fn.calls) < fn.num_rows / 5


def test_an_attacker_who_averages_really_asks(linear_images):
  fn = _Counting()
  clean = oracles.from_predict(linear_predict, linear_variables())
  found = _run(
    ATTACKS["bandits"], _threats(clean, oracles.from_host(fn, 3), 4), _tasks(*linear_images)[:4]
  )
  assert fn.num_rows == sum(outcome.num_queries for outcome in found.values())


def test_the_verdict_asks_about_finished_trials_only(linear_images):
  fn = _Counting()
  found = _run(ATTACKS["ql"], _threats(oracles.from_host(fn, 3)), _tasks(*linear_images))
  asked = sum(outcome.num_queries for outcome in found.values())
  # Two images each: once without and 10 times with noise.
  assert fn.num_rows == asked + len(found) * 2 * 11


@pytest.mark.parametrize("name", ["ql", "zoo"])
def test_the_closed_call(name, linear_images):
  images, labels = linear_images
  fn = _Counting()
  oracle = oracles.with_output_noise(oracles.from_host(fn, 3, rows_per_call=20), 1e-3)
  inside = oracles.with_output_noise(oracles.from_predict(linear_predict, linear_variables()), 1e-3)
  call = lambda oracle: orjax.attack_batch(
    jax.random.key(3), ATTACKS[name], oracle, images, labels, max_queries=300
  )
  theirs, ours = call(oracle), call(inside)
  np.testing.assert_array_equal(theirs.num_queries, ours.num_queries)
  np.testing.assert_allclose(theirs.adversarial, ours.adversarial, atol=2e-3)
  assert fn.num_rows == int(theirs.num_queries.sum()) and max(fn.calls) <= 20
  one = orjax.attack_one(
    jax.random.fold_in(jax.random.key(3), 0),
    ATTACKS[name],
    oracle,
    jnp.asarray(images[0]),
    labels[0],
    max_queries=300,
  )
  assert int(one.num_queries) == int(theirs.num_queries[0])


def test_where_it_cannot_be_asked(linear_images):
  oracle = oracles.from_host(_fn, 3)
  images = jnp.asarray(linear_images[0])
  np.testing.assert_allclose(
    oracle.query(jax.random.key(0), images), _fn(linear_images[0]), rtol=1e-6
  )
  with pytest.raises(ValueError, match="outside of jit"):
    jax.jit(oracle.query)(jax.random.key(0), images)
  with pytest.raises(ValueError, match="rows_per_call"):
    oracles.in_chunks(oracle, 3).query(jax.random.key(0), images)


def test_limits_and_bad_answers(linear_images):
  images, labels = linear_images
  fn = _Counting()
  with pytest.raises(ValueError, match="max_rows=100"):
    _run(ATTACKS["ql"], _threats(oracles.from_host(fn, 3, max_rows=100)), _tasks(images, labels))
  assert 0 < fn.num_rows <= 100
  with pytest.raises(ValueError, match=r"shape \(8, 4\), not \(8, 3\)"):
    oracles.from_host(_fn, 4).query(jax.random.key(0), jnp.asarray(images))
  with pytest.raises(ValueError, match="attempts must be at least 1"):
    oracles.from_host(_fn, 3, attempts=0)
  broken = oracles.from_host(lambda images: 1 / 0, 3)
  with pytest.raises(ValueError, match="at line .* of test_host.py .ZeroDivisionError") as caught:
    broken.query(jax.random.key(0), jnp.asarray(images))
  assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_endpoint_counts_in_the_sight_of_its_owner(linear_images):
  endpoint = host.Endpoint(_fn, 3, rows_per_call=3)
  oracle = oracles.averaged(oracles.from_endpoint(endpoint), 2)
  oracle.query(jax.random.key(0), jnp.asarray(linear_images[0]))
  assert (endpoint.num_rows, endpoint.num_requests) == (16, 6)


class _Server(http.server.BaseHTTPRequestHandler):
  """Answers batches of float32 images; slow; one call in five fails before it answers."""

  protocol_version = "HTTP/1.1"

  def do_POST(self):
    server = self.server
    body = self.rfile.read(int(self.headers["Content-Length"]))
    with server.lock:
      server.num_calls += 1
      number = server.num_calls
    time.sleep(0.002)
    if server.down or number % 5 == 0:
      self.send_error(503)
      return
    images = np.frombuffer(body, np.float32).reshape(-1, 4, 4, 1)
    with server.lock:
      server.num_rows += len(images)
    answer = _fn(images).astype(np.float32).tobytes()
    self.send_response(200)
    self.send_header("Content-Length", str(len(answer)))
    self.end_headers()
    self.wfile.write(answer)

  def log_message(self, *unused):
    pass


@pytest.fixture
def server():
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
  server.lock, server.num_rows, server.num_calls, server.down = threading.Lock(), 0, 0, False
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  yield server
  server.shutdown()
  server.server_close()
  thread.join()
  gc.collect()  # sockets of lost connections, in the test that expects them


def _client(server):
  def fn(images):
    url = f"http://127.0.0.1:{server.server_port}"
    with urllib.request.urlopen(url, data=images.tobytes(), timeout=5) as reply:
      return np.frombuffer(reply.read(), np.float32).reshape(-1, 3)

  return fn


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_is_slow_and_fails_now_and_then(server, linear_images):
  clean = oracles.from_predict(linear_predict, linear_variables())
  asked = oracles.from_host(_client(server), 3, first_wait=0.001)
  found = _run(ATTACKS["bandits"], _threats(clean, asked), _tasks(*linear_images))
  assert server.num_rows == sum(outcome.num_queries for outcome in found.values())
  assert server.num_calls > 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_goes_down_costs_nothing(server, linear_images, tmp_path):
  """A clear error; when it is up again the run goes on where it was."""
  clean = oracles.from_predict(linear_predict, linear_variables())
  tasks = _tasks(*linear_images)
  plan = runner.Plan(3, 7, snapshot=str(tmp_path / "snapshot.npz"))
  undisturbed = _run(ATTACKS["bandits"], _threats(clean), tasks)

  calls = []

  def fn(images):
    calls.append(len(images))
    server.down = 20 < len(calls) < 24 or len(calls) > 40
    return _client(server)(images)

  done = {}

  def go_on(fn):
    asked = oracles.from_host(fn, 3, attempts=3, first_wait=0.001)
    left = [task for task in tasks if (task.identity["stddev"], task.index) not in done]
    for outcome in runner.run(
      ATTACKS["bandits"],
      objectives.log_margin(),
      _threats(clean, asked),
      (),
      left,
      seed=0,
      max_queries=500,
      num_draws=10,
      plan=plan,
    ):
      done[outcome.task.identity["stddev"], outcome.task.index] = outcome

  for _ in range(2):
    with pytest.raises(ConnectionError, match="run again when it does"):
      go_on(fn)
  server.down = False
  go_on(_client(server))
  assert not (tmp_path / "snapshot.npz").exists()
  assert server.num_rows == sum(outcome.num_queries for outcome in done.values())
  for key, outcome in undisturbed.items():
    assert outcome.num_queries == done[key].num_queries
