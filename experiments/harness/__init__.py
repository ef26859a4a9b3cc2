"""What the mains share."""

import gc

# Imports and traces are many small objects, few of them in cycles: with Python's own thresholds
# a tenth of a short run goes into looking for those.
gc.set_threshold(200_000, 20, 100)
