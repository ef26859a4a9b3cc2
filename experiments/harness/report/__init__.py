"""Tables, verdicts and figures, from ledgers alone. Nothing here imports JAX."""
