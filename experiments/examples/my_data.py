"""Your own data: scikit-learn's digits, the first five classes only.

python experiments/blackbox_attacks.py --data=experiments/examples/my_data.py:factory
"""

import numpy as np
from sklearn.datasets import load_digits


def factory():
  """What --data wants: images uint8 [N, H, W, C] or [N, H, W], and labels int [N]."""
  images, labels = load_digits(return_X_y=True)
  images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
  return images[labels < 5], labels[labels < 5]
