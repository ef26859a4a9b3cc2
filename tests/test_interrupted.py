"""A closed call on a model outside JAX that stops answering hands out what is done."""

import jax
import numpy as np
import pytest

from conftest import linear_variables
import orjax
from orjax import attacks
from orjax import closed
from orjax import defenses
from orjax import host
from orjax import objectives
from orjax import oracles
from orjax import threats

_LOSS = objectives.log_margin()


class _Server:
  """The linear model by NumPy, which the plug of is pulled after so many calls."""

  def __init__(self, last=10**6):
    self.last, self.num_calls = last, 0

  def __call__(self, images):
    self.num_calls += 1
    if self.num_calls > self.last:
      raise ConnectionError("the plug was pulled")
    variables = jax.tree.map(np.asarray, linear_variables())
    logits = images.reshape(len(images), -1) @ variables["weights"] + variables["bias"]
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def _oracle(server):
  return oracles.from_endpoint(host.Endpoint(server, 3, patience=host.Patience(attempts=1)))


@pytest.mark.parametrize("call", ["attack_batch", "evaluate"])
def test_a_closed_call_hands_out_what_is_done(call, linear_images):
  images, labels = linear_images
  attack = attacks.ql(_LOSS, num_pairs=3, smoothing=0.01, radius=0.3, step_size=0.03)
  key, options = jax.random.key(0), {"max_queries": 70}

  def attacked(last=10**6):
    server = _Server(last)
    oracle = _oracle(server)
    if call == "attack_batch":
      return server, orjax.attack_batch(key, attack, oracle, images, labels, **options)
    model = threats.threat_model(lambda _: oracle, defenses.no_defense())
    return server, orjax.evaluate(
      key, attack, model, (), images, labels, objective=_LOSS, num_draws=2, **options
    )

  whole_server, whole = attacked()
  for last in (3, 8, whole_server.num_calls - 1):
    with pytest.raises(closed.Interrupted, match=r"of 8 images are done.*`result`") as caught:
      attacked(last)
    found, done = caught.value.result, caught.value.finished
    assert isinstance(caught.value, ConnectionError) and "run again" not in str(caught.value)
    assert done.sum() < 8 or call == "evaluate"
    for name in ("adversarial", "claimed", "num_queries"):
      np.testing.assert_array_equal(getattr(found, name)[done], getattr(whole, name)[done])
  if call == "attack_batch":  # as the message says
    oracle = _oracle(_Server())
    for i in np.flatnonzero(~done):
      own_key = jax.random.fold_in(key, i)
      one = orjax.attack_one(own_key, attack, oracle, images[i], labels[i], **options)
      np.testing.assert_array_equal(one.adversarial, whole.adversarial[i])
