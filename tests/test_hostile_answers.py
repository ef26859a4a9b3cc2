"""Functions of users that fail, or answer what is no answer: what is said, what is counted."""

import json
import logging
import urllib.request

import numpy as np
import pytest
import scripted

from orjax import host


def _load(images):
  return np.load("/nowhere/weights.npy")


def _divide(images):
  return 1 / 0


def _look_up(images):
  return {"scores": []}["predictions"]


def _parse(images):
  return json.loads("<html><title>Log in</title></html>")


def _cut(images):
  return np.frombuffer(bytes(len(images) * 3 * 4 - 7), np.float32)


def _out_of_memory(images):
  raise RuntimeError("CUDA out of memory")


def _leave(images):
  raise SystemExit


def _stop(images):
  raise StopIteration


def _unprintable(images):
  class Odd(Exception):
    def __str__(self):
      raise RuntimeError

  raise Odd


def _odd_address(images):
  return urllib.request.urlopen("server/ask")


def _unsupported(images):
  raise scripted.UnsupportedProtocol("htp://")


@pytest.mark.parametrize(
  "fn, kind, said",
  [
    (_load, OSError, "FileNotFoundError.*weights.npy"),
    (_divide, ValueError, "ZeroDivisionError: division by zero"),
    (_look_up, ValueError, "KeyError: 'predictions'"),
    (_parse, ValueError, "JSONDecodeError: Expecting value"),
    (_cut, ValueError, "ValueError: buffer size must be a multiple"),
    (_out_of_memory, ValueError, "RuntimeError: CUDA out of memory"),
    (_leave, ValueError, "SystemExit"),
    (_stop, ValueError, "StopIteration"),
    (_unprintable, ValueError, "Odd"),
    (_odd_address, ValueError, "ValueError: unknown url type"),
    (_unsupported, OSError, "UnsupportedProtocol: htp"),
  ],
  ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_failing_function_is_told_with_its_line(fn, kind, said):
  endpoint = scripted.endpoint(fn)
  with pytest.raises(kind, match=said) as caught:
    endpoint.ask(scripted.IMAGES)
  message = str(caught.value)
  line = fn.__code__.co_firstlineno
  assert any(f"at line {n} of test_hostile_answers.py" in message for n in range(line, line + 7))
  assert "must answer images [B, H, W, C] with an array of 3 numbers for each" in message
  assert "\n" not in message and caught.value.__cause__ is not None
  assert endpoint.num_requests == 1


def test_the_end_of_the_program_is_not_held_up():
  for stop in (KeyboardInterrupt(), SystemExit(143)):
    with pytest.raises(type(stop)) as caught:
      scripted.endpoint(scripted.Script(stop)).ask(scripted.IMAGES)
    assert caught.value is stop


def test_what_is_handled_meanwhile_is_not_the_fault_of_this_call():
  """Asked again in an `except` block, a programming error is no lost connection."""
  fn = scripted.Script(KeyError("mistake"))
  try:
    raise scripted.RequestsHTTPError(503)
  except OSError:
    with pytest.raises(ValueError, match="KeyError: 'mistake'"):
      scripted.endpoint(fn).ask(scripted.IMAGES)
  assert len(fn.calls) == 1


# Answers.


class _Tensor:
  """As PyTorch's where it has a gradient."""

  def __array__(self, *unused, **unused_too):
    raise RuntimeError("Can't call numpy() on Tensor that requires grad")


@pytest.mark.parametrize(
  "answer, said",
  [
    (None, r"\(6, 3\), not \(\) of object \(NoneType\)"),
    ("<html>", r"not \(\) of <U6 \(str\)"),
    ([["cat", "dog", "cow"]] * 6, r"not \(6, 3\) of <U3 \(list\)"),
    ([[None] * 3] * 6, r"not \(6, 3\) of object"),
    ([[1.0, 2.0, 3.0]] * 5 + [[1.0]], "returned a list that NumPy cannot read"),
    (_Tensor(), "returned a _Tensor that NumPy cannot read.*requires grad"),
    (np.zeros((6, 3), complex), "complex128"),
    (np.zeros((6, 3), "datetime64[s]"), "datetime64"),
    (np.zeros((5, 3)), r"\(6, 3\), not \(5, 3\)"),
    (np.zeros((7, 3)), r"\(6, 3\), not \(7, 3\)"),
    (np.zeros((6, 4)), r"\(6, 3\), not \(6, 4\)"),
    (np.zeros((6, 1, 3)), r"\(6, 3\), not \(6, 1, 3\)"),
    (np.zeros(6, int), r"\(6, 3\), not \(6,\)"),
    (np.zeros(18), r"\(6, 3\), not \(18,\)"),
    ({"probabilities": 1}, "object .dict."),
    (np.where(np.eye(6, 3) > 0, np.nan, 0), "NaN or infinity in 3 of 6 rows"),
    (np.full((6, 3), np.inf), "NaN or infinity in 6 of 6 rows"),
    (np.full((6, 3), 1e300), "NaN or infinity in 6 of 6 rows"),
  ],
)
def test_answers_that_are_none(answer, said):
  endpoint = scripted.endpoint(lambda images: answer)
  with pytest.raises(ValueError, match=said) as caught:
    endpoint.ask(scripted.IMAGES)
  assert "the model's function" in str(caught.value) and "\n" not in str(caught.value)
  assert "must answer" in str(caught.value)
  assert endpoint.num_requests == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8, bool])
def test_answers_that_are_numbers(dtype):
  answers = np.eye(6, 3).astype(dtype)
  for given in (answers, answers.tolist(), tuple(answers)):
    found = scripted.endpoint(lambda images: given).ask(scripted.IMAGES)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.eye(6, 3))


def test_no_rows_are_no_call():
  fn = scripted.Script()
  endpoint = scripted.endpoint(fn)
  assert endpoint.ask(scripted.IMAGES[:0]).shape == (0, 3)
  assert (endpoint.num_rows, endpoint.num_requests, fn.calls) == (0, 0, [])


# Rows.


@pytest.mark.parametrize("rows_per_call", [None, 2, 4, 6, 100])
@pytest.mark.parametrize("num_lost", [0, 1, 2])
def test_a_function_may_work_in_place(rows_per_call, num_lost):
  lost = [num_lost]

  def fn(images):
    assert images.flags.writeable and images.flags.c_contiguous and images.dtype == np.float32
    answers = scripted.answers(images)
    images -= 0.5
    images /= 0.25
    if lost[0]:
      lost[0] -= 1
      raise ConnectionError("lost")
    images[:] = np.nan
    return answers

  before = scripted.IMAGES.copy()
  found = scripted.endpoint(fn, rows_per_call=rows_per_call).ask(scripted.IMAGES)
  np.testing.assert_array_equal(found, scripted.answers(before))
  np.testing.assert_array_equal(scripted.IMAGES, before)


def test_a_function_may_answer_in_the_same_memory():
  memory = np.zeros((2, 3), np.float32)

  def fn(images):
    memory[:] = scripted.answers(images)
    return memory

  np.testing.assert_array_equal(
    scripted.endpoint(fn, rows_per_call=2).ask(scripted.IMAGES), scripted.answers(scripted.IMAGES)
  )


@pytest.mark.parametrize(
  "strided", [scripted.IMAGES[::-1], scripted.IMAGES.transpose(0, 2, 1, 3), scripted.IMAGES[:, ::2]]
)
def test_a_function_gets_plain_memory(strided):
  def fn(images):
    assert np.frombuffer(images.tobytes(), np.float32).size == images.size
    assert images.flags.c_contiguous
    np.testing.assert_array_equal(images, strided)
    return scripted.answers(images)

  scripted.endpoint(fn).ask(strided)


def test_the_limit_counts_what_was_sent():
  fn = scripted.Script(ConnectionError("lost"))
  endpoint = scripted.endpoint(fn, max_rows=17)
  endpoint.ask(scripted.IMAGES)
  assert (endpoint.num_rows, endpoint.num_requests) == (12, 2)
  with pytest.raises(ValueError, match="max_rows=17 does not allow 6 more rows after 12: raise"):
    endpoint.ask(scripted.IMAGES)
  assert endpoint.num_rows == 12 and len(fn.calls) == 2


def test_the_limit_ends_the_attempts():
  fn = scripted.Script(*[ConnectionError("lost")] * 5)
  with pytest.raises(ValueError, match="max_rows=13"):
    scripted.endpoint(fn, max_rows=13, attempts=5).ask(scripted.IMAGES)
  assert len(fn.calls) == 2


@pytest.mark.parametrize(
  "options",
  [
    dict(num_classes=1),
    dict(num_classes=None),
    dict(num_classes=10.5),
    dict(num_classes=float("nan")),
    dict(num_classes="10"),
    dict(rows_per_call=0),
    dict(rows_per_call=2.5),
    dict(max_rows=-1),
    dict(max_rows=float("nan")),
    dict(max_rows=float("inf")),
    dict(attempts=0),
    dict(attempts=None),
    dict(attempts=1.5),
    dict(first_wait=-1.0),
    dict(first_wait=float("nan")),
    dict(first_wait=None),
    dict(longest_wait=float("inf")),
    dict(longest_wait=-1),
  ],
  ids=str,
)
def test_odd_numbers_are_refused(options):
  (name, value), *_ = options.items()
  patience = host.Patience()._replace(**{k: v for k, v in options.items() if "wait" in k})
  if name == "attempts":
    patience, options = host.Patience(attempts=value), {}
  arguments = {k: v for k, v in options.items() if "wait" not in k}
  with pytest.raises(ValueError, match=f"{name} must be at least .*, not {value}"):
    host.Endpoint(scripted.answers, arguments.pop("num_classes", 3), patience=patience, **arguments)


@pytest.mark.parametrize("fn", [None, "server", 3])
def test_a_function_must_be_one(fn):
  with pytest.raises(ValueError, match="fn must be a function of images"):
    host.Endpoint(fn, 3)


# Words.


def test_retries_are_told(caplog):
  fn = scripted.Script(ConnectionError("first"), scripted.RequestsHTTPError(503))
  with caplog.at_level(logging.WARNING, "orjax"):
    scripted.endpoint(fn).ask(scripted.IMAGES)
  first, second = (record.getMessage() for record in caplog.records)
  assert "did not answer 6 rows (ConnectionError: first): asking again in 1 s" in first
  assert "attempt 2 of 3" in first and "attempt 3 of 3" in second
  assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize(
  "text, shown",
  [
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("two\r\nlines\t", "two lines"),
    ("\x9b2J", r"\x9b2J"),
    ("right\u202eleft", r"right\u202eleft"),
    ("half \udc80", r"half \udc80"),
    ("grüße", "grüße"),
    ("https://me:word@server/a?key=secret&b=1", "https://...@server/a?..."),
    ("Max retries exceeded with url: /ask?key=secret (Caused by x)", "url: /ask?... (Caused"),
    ("x" * 5000, "x" * 200 + "..."),
  ],
  ids=ascii,
)
@pytest.mark.parametrize("kind", ["lost", "refused", "failed"])
def test_text_of_a_server_is_shown_safely(text, shown, kind, caplog):
  error = {
    "lost": ConnectionError(text),
    "refused": scripted.urllib_error(403),
    "failed": KeyError(),
  }[kind]
  if kind == "refused":
    error.msg = text
  if kind == "failed":
    error = RuntimeError(text)
  with caplog.at_level(logging.WARNING, "orjax"), pytest.raises((OSError, ValueError)) as caught:
    scripted.endpoint(scripted.Script(error, error, error)).ask(scripted.IMAGES)
  for said in [str(caught.value), *(record.getMessage() for record in caplog.records)]:
    assert (shown[:150] in said) and "secret" not in said and len(said) < 500
    assert all(x.isprintable() for x in said)
