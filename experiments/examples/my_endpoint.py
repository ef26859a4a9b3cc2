"""Your own model outside JAX: the classifier of `my_model.py` behind a function of NumPy.

    python experiments/blackbox_attacks.py --attack=ql --max_rows=100000 \\
        --host_model=experiments/examples/my_endpoint.py:factory
"""

from my_model import weights_and_bias
import numpy as np


def factory():
  """What --host_model wants: (fn, image_shape, num_classes)."""
  weights, bias = weights_and_bias()

  def fn(images):
    """Probabilities [B, K] of a batch of any size; a request to your server goes here."""
    logits = images.reshape(len(images), -1) @ weights + bias
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)

  return fn, (8, 8, 1), 10
