"""What the attacker may ask: the classifier, what the server adds, what the attacker does.

Read from the inside out, a composition is the threat model:

    averaged(with_output_noise(from_predict(predict), stddev), num_samples)
"""

from orjax.defenses.noise import with_output_noise
from orjax.oracles.attackers import averaged
from orjax.oracles.attackers import in_chunks
from orjax.oracles.attackers import log_answers
from orjax.oracles.sources import from_endpoint
from orjax.oracles.sources import from_host
from orjax.oracles.sources import from_predict
from orjax.oracles.sources import from_random_predict
from orjax.precision import full_precision

__all__ = [
  "averaged",
  "from_endpoint",
  "from_host",
  "from_predict",
  "from_random_predict",
  "full_precision",
  "in_chunks",
  "log_answers",
  "with_output_noise",
]
