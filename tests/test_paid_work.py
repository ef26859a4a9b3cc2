"""What was paid for is not lost, whatever ends a run: errors, signals, the caller, the disk."""

import errno
import logging
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import linear_predict
from conftest import linear_variables
from orjax import attacks
from orjax import defenses
from orjax import engine
from orjax import files
from orjax import host
from orjax import objectives
from orjax import oracles
from orjax import threats

_NUM_DRAWS, _NUM_SLOTS, _MAX_QUERIES = 2, 2, 120
_ROWS_OF_A_STEP = _NUM_SLOTS * 3  # and as many as a verdict has: 2 images, 1 + 2 answers
_OBJECTIVE = objectives.log_margin()
_ATTACK = attacks.bandits(objectives.cross_entropy(), radius=0.3, prior_size=2)
_DEFENSE = defenses.output_noise()


class _Server:
  """The linear model by NumPy; counts rows, and calls `disturb(number of the call, images)`."""

  def __init__(self, disturb=lambda number, images: None):
    self.disturb, self.num_rows, self.num_calls = disturb, 0, 0

  def __call__(self, images):
    self.num_calls += 1
    self.num_rows += len(images)
    variables = jax.tree.map(np.asarray, linear_variables())
    logits = images.reshape(len(images), -1) @ variables["weights"] + variables["bias"]
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    answers = exponents / exponents.sum(-1, keepdims=True)
    other = self.disturb(self.num_calls, images)
    return answers if other is None else other


# One endpoint, one oracle and so one program for all servers of these tests.
_ENDPOINT = host.Endpoint(_Server(), 3)
_ORACLE = oracles.from_endpoint(_ENDPOINT)
_ON_HOST = threats.threat_model(lambda variables: _ORACLE, _DEFENSE)
_IN_JAX = threats.threat_model(
  lambda variables: oracles.from_predict(linear_predict, variables), _DEFENSE
)


def _oracle(server, **options):
  """The oracle, which asks this server from now on."""
  patience = host.Patience(attempts=2, sleep=lambda seconds: None)
  vars(_ENDPOINT).update(vars(host.Endpoint(server, 3, patience=patience, **options)))
  return _ORACLE


def _tasks(linear_images):
  settings = _DEFENSE.settings(1e-4)
  return [
    engine.Task({"index": i}, image, int(label), 0, i, settings)
    for i, (image, label) in enumerate(zip(*linear_images))
  ][:5]


def _run(tasks, oracle, snapshot=None, seconds=1e9, **options):
  """Outcomes; `oracle` None is the linear model in JAX."""
  return engine.run(
    _ATTACK,
    _OBJECTIVE,
    options.pop("threats", None) or (_ON_HOST if oracle else _IN_JAX),
    () if oracle else linear_variables(),
    tasks,
    seed=0,
    max_queries=_MAX_QUERIES,
    num_draws=_NUM_DRAWS,
    plan=engine.Plan(_NUM_SLOTS, 3, tuple(jax.local_devices()[:1]), snapshot, seconds, **options),
  )


def _until_it_ends(found, tasks, oracle, snapshot, **options):
  """Does what is not in `found`, into `found`."""
  left = [task for task in tasks if task.index not in found]
  for outcome in _run(left, oracle, snapshot, **options):
    assert outcome.task.index not in found
    found[outcome.task.index] = outcome


def _assert_same(found, whole):
  assert found.keys() == whole.keys()
  for index, outcome in whole.items():
    other = found[index]
    np.testing.assert_array_equal(outcome.adversarial, other.adversarial)
    assert outcome.adversarial.dtype == other.adversarial.dtype
    assert [*map(type, outcome)] == [*map(type, other)]
    assert outcome._replace(task=None, adversarial=None) == other._replace(
      task=None, adversarial=None
    )


@pytest.fixture(scope="module")
def whole(linear_images):
  """An undisturbed run: tasks, outcomes by index, rows and calls."""
  server, found = _Server(), {}
  tasks = _tasks(linear_images)
  _until_it_ends(found, tasks, _oracle(server), None)
  assert len({outcome.num_steps for outcome in found.values()}) > 1
  return tasks, found, server


@pytest.fixture(scope="module")
def whole_in_jax(linear_images):
  found = {}
  _until_it_ends(found, _tasks(linear_images), None, None)
  return found


@pytest.fixture
def snapshot(tmp_path):
  return str(tmp_path / "snapshot.npz")


class _Full(Exception):
  """The caller's own error."""


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_error_of_the_caller_loses_nothing(on_host, number, whole, whole_in_jax, snapshot):
  tasks, outcomes, server_of_whole = whole
  server, found = _Server(), {}
  oracle = _oracle(server) if on_host else None
  with pytest.raises(_Full):
    for count, outcome in enumerate(_run(tasks, oracle, snapshot)):
      if count == number:  # as a ledger on a full disk: this outcome is not kept
        raise _Full
      found[outcome.task.index] = outcome
  assert len(found) == number
  _until_it_ends(found, tasks, oracle, snapshot)
  _assert_same(found, outcomes if on_host else whole_in_jax)
  assert not pathlib.Path(snapshot).exists()
  if on_host:
    assert server.num_rows == server_of_whole.num_rows


def test_errors_of_the_caller_again_and_again(whole, snapshot):
  """Also what was restored and not done with is kept."""
  tasks, outcomes, server_of_whole = whole
  server, found = _Server(), {}
  for _ in range(len(tasks)):
    left = [task for task in tasks if task.index not in found]
    for _ in range(2):
      run = _run(left, _oracle(server), snapshot)
      outcome = next(run)
      run.close()
    found[outcome.task.index] = outcome
  _assert_same(found, outcomes)
  assert server.num_rows == server_of_whole.num_rows


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(143), ConnectionError, ValueError])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_what_ends_a_call_costs_that_call_alone(stop, part, whole, snapshot):
  tasks, outcomes, server_of_whole = whole
  last = 1 + int(part * (server_of_whole.num_calls - 1))
  lost = []

  def disturb(number, images):
    if number >= last and len(lost) < (2 if stop is ConnectionError else 1):
      lost.append(len(images))
      raise stop

  server, found = _Server(disturb), {}
  with pytest.raises(type(stop) if isinstance(stop, SystemExit) else stop) as caught:
    _until_it_ends(found, tasks, _oracle(server), snapshot)
  if stop is ConnectionError:
    assert "did not answer" in str(caught.value)
    assert str(caught.value).endswith("run again when it does, and the run goes on where it was")
  _until_it_ends(found, tasks, _oracle(server), snapshot)
  _assert_same(found, outcomes)
  assert server.num_rows == server_of_whole.num_rows + sum(lost)
  assert max(lost) <= _ROWS_OF_A_STEP


def test_a_question_of_several_calls_goes_on_where_it_failed(whole, snapshot):
  """Also a verdict, of which most calls were answered, and in another process."""
  tasks, outcomes, server_of_whole = whole
  lost = []

  def disturb(number, images):
    if number % 19 == 0:
      lost.append(len(images))
      raise KeyboardInterrupt

  server, found = _Server(disturb), {}
  num_interrupts = 0
  while len(found) < len(tasks):
    try:
      _until_it_ends(found, tasks, _oracle(server, rows_per_call=4), snapshot)
    except KeyboardInterrupt:
      num_interrupts += 1
  assert num_interrupts > 5
  assert server.num_rows == server_of_whole.num_rows + sum(lost) and max(lost) <= 4
  for index, outcome in outcomes.items():
    assert outcome.num_queries == found[index].num_queries
    assert outcome.clean_success == found[index].clean_success
    np.testing.assert_allclose(outcome.adversarial, found[index].adversarial, atol=1e-5)


_OURS = tuple(str(pathlib.Path(engine.__file__).parents[1] / room) for room in ("engine", "host"))


def _stopping_at(number, counted):
  """A trace function that raises at the line of that number of the engine or the host side."""

  def trace(frame, event, argument):
    if not frame.f_code.co_filename.startswith(_OURS):
      return None
    if event == "line":
      counted[0] += 1
      if counted[0] == number:
        raise KeyboardInterrupt
    return trace

  return trace


def _traced(trace, function, *arguments):
  before = sys.gettrace()
  sys.settrace(trace)
  try:
    function(*arguments)
  finally:
    sys.settrace(before)


@pytest.fixture(scope="module")
def num_lines(whole):
  """Lines of the engine and the host side that a whole run goes through."""
  counted = [0]
  run = lambda: _until_it_ends({}, whole[0], _oracle(_Server()), None)
  _traced(_stopping_at(0, counted), run)
  return counted[0]


@pytest.mark.parametrize("part", np.linspace(0.1, 0.999, 12).round(3))
def test_a_signal_between_any_two_lines_costs_a_step_at_most(part, num_lines, whole, snapshot):
  tasks, outcomes, server_of_whole = whole
  server, found = _Server(), {}
  try:
    _traced(
      _stopping_at(int(part * num_lines), [0]),
      _until_it_ends,
      found,
      tasks,
      _oracle(server),
      snapshot,
    )
  except KeyboardInterrupt:
    _until_it_ends(found, tasks, _oracle(server), snapshot)
  _assert_same(found, outcomes)
  again = server.num_rows - server_of_whole.num_rows
  assert 0 <= again <= _ROWS_OF_A_STEP


def test_good_outcomes_come_before_a_broken_one(whole_in_jax, linear_images, snapshot):
  """NaN for one image, in JAX: what was finished with it is handed out, the others are kept."""
  tasks = _tasks(linear_images)
  bad = tasks[2].image
  mended = []

  def predict(variables, images):
    near = (jnp.abs(images - bad[None]).max((1, 2, 3)) < 0.11)[:, None] & (not mended)
    return jnp.where(near, jnp.nan, linear_predict(variables, images))

  model = threats.threat_model(lambda v: oracles.from_predict(predict, v), _DEFENSE)
  found = {}
  with pytest.raises(FloatingPointError, match="NaN or infinity for image 2"):
    _until_it_ends(found, tasks, None, snapshot, threats=model)
  assert 2 not in found and pathlib.Path(snapshot).exists()
  mended.append(True)
  _until_it_ends(found, tasks, None, snapshot, threats=model)
  _assert_same(found, whole_in_jax)


def test_numbers_that_are_none_are_the_fault_of_the_function(whole, snapshot):
  tasks, outcomes, server_of_whole = whole
  lost = []

  def disturb(number, images):
    if number == 9:
      lost.append(len(images))
      return np.full((len(images), 3), np.nan)
    return None

  server, found = _Server(disturb), {}
  with pytest.raises(ValueError, match="the model's function answered NaN or infinity in"):
    _until_it_ends(found, tasks, _oracle(server), snapshot)
  _until_it_ends(found, tasks, _oracle(server), snapshot)
  _assert_same(found, outcomes)
  assert server.num_rows == server_of_whole.num_rows + sum(lost)


def _full(path, arrays):
  raise OSError(errno.ENOSPC, "No space left on device", path)


@pytest.mark.parametrize("trouble", ["full disk", "no folder", "failed device"])
def test_a_snapshot_that_cannot_be_written_is_a_warning(
  trouble, whole, snapshot, caplog, monkeypatch
):
  tasks, outcomes, _ = whole
  if trouble == "full disk":
    monkeypatch.setattr(files, "write_npz", _full)
  if trouble == "failed device":
    monkeypatch.setattr(
      files, "write_npz", lambda *unused: (_ for _ in ()).throw(RuntimeError("x"))
    )
  if trouble == "no folder":
    snapshot = str(pathlib.Path(snapshot).parent / "gone" / "snapshot.npz")
  found = {}
  with caplog.at_level(logging.WARNING, "orjax"):
    _until_it_ends(found, tasks, _oracle(_Server()), snapshot, seconds=0.0)
  _assert_same(found, outcomes)
  assert "what the slots hold is not saved" in caplog.text
  with pytest.raises(_Full):  # and it hides no error
    for _ in _run(tasks, _oracle(_Server()), snapshot):
      raise _Full


@pytest.mark.parametrize("request_", ["", "other"])
@pytest.mark.parametrize("damage", ["torn", "flipped", "of another kind", "empty"])
def test_a_damaged_snapshot_is_set_aside(damage, request_, whole, snapshot, caplog):
  tasks, outcomes, _ = whole
  run = _run(tasks, _oracle(_Server()), snapshot)
  next(run)
  run.close()
  path = pathlib.Path(snapshot)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 255
  broken = {"torn": content[:-100], "flipped": content, "of another kind": b"[]", "empty": b""}
  path.write_bytes(broken[damage])
  found = {}
  with caplog.at_level(logging.WARNING, "orjax"):
    _until_it_ends(found, tasks, _oracle(_Server()), snapshot, request=request_)
  _assert_same(found, outcomes)
  assert "snapshot.npz" in caplog.text and path.with_name("snapshot.npz.damaged").exists()


def test_a_snapshot_of_another_request_is_set_aside(whole, snapshot, caplog):
  tasks, outcomes, _ = whole
  run = _run(tasks, _oracle(_Server()), snapshot, request="learning rate 1")
  next(run)
  run.close()
  found = {}
  with caplog.at_level(logging.WARNING, "orjax"):
    _until_it_ends(found, tasks, _oracle(_Server()), snapshot, request="learning rate 2")
  assert "of another request" in caplog.text
  _assert_same(found, outcomes)


def test_what_is_true_of_a_run_without_a_snapshot(whole):
  def disturb(number, images):
    raise ConnectionError("gone")

  with pytest.raises(ConnectionError) as caught:
    next(_run(whole[0], _oracle(_Server(disturb))))
  assert "run again" not in str(caught.value) and "see that it is up" in str(caught.value)
