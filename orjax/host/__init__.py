"""Models outside JAX: what asks them, and how compiled programs wait for them."""

from orjax.host.endpoint import Endpoint
from orjax.host.endpoint import Patience
from orjax.host.staging import ask
from orjax.host.staging import asks
from orjax.host.staging import endpoints
from orjax.host.staging import rows_asked
from orjax.host.staging import staged

__all__ = ["Endpoint", "Patience", "ask", "asks", "endpoints", "rows_asked", "staged"]
