"""Functions that fail as they are told to, and the errors of HTTP clients."""

import http.client
import urllib.error

import numpy as np

from orjax import host

IMAGES = np.random.default_rng(0).uniform(0.3, 0.7, (6, 4, 4, 1)).astype(np.float32)
NOW = 1_000_000_000.0


def answers(images):
  means = images.reshape(len(images), -1).mean(1)
  return np.stack([means, means / 2, 1 - means], 1).astype(np.float32)


class Script:
  """A function that meets the errors it is given, one a call, and answers then."""

  def __init__(self, *errors):
    self.errors, self.calls = list(errors), []

  def __call__(self, images):
    self.calls.append(len(images))
    if self.errors:
      error = self.errors.pop(0)
      if callable(error):
        return error(images)
      raise error
    return answers(images)


def endpoint(fn, waits=None, **options):
  patience = dict(attempts=3, first_wait=1.0, sleep=[].append, draw=lambda: 0.0, clock=lambda: NOW)
  patience |= {} if waits is None else {"sleep": waits.append}
  named = {name: options.pop(name) for name in list(options) if name in host.Patience._fields}
  return host.Endpoint(fn, 3, patience=host.Patience(**{**patience, **named}), **options)


# What HTTP clients raise, by the shapes of their errors: no client is needed.


class _Response:
  def __init__(self, status, headers=None):
    self.status_code, self.headers = status, headers or {}


class RequestsHTTPError(OSError):
  def __init__(self, status, headers=None):
    super().__init__(f"{status} Error for url: https://me:secret@server/ask?key=secret")
    self.response = _Response(status, headers)


class HttpxHTTPStatusError(Exception):
  def __init__(self, status, headers=None):
    super().__init__(f"Client error '{status}' for url 'https://server/ask?key=secret'")
    self.response = _Response(status, headers)


class AiohttpResponseError(Exception):
  def __init__(self, status, headers=None):
    super().__init__(f"{status}, message='', url='https://server/ask?key=secret'")
    self.status, self.headers = status, headers or {}


def urllib_error(status, headers=None):
  message = http.client.HTTPMessage()
  for name, value in (headers or {}).items():
    message[name] = value
  return urllib.error.HTTPError("http://server", status, "refused", message, None)


class TransportError(Exception):
  """As httpx's, which is no OSError."""


class ReadTimeout(TransportError):
  """As httpx's."""


class UnsupportedProtocol(TransportError):
  """As httpx's, of an address that cannot be right."""
