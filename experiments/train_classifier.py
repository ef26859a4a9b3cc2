"""Trains the classifier of a data set, resumable, and prints its test accuracy.

    python experiments/train_classifier.py --dataset=mnist --model_dir=models
"""

import classifiers
import common
import own_models


def main():
  own_models.refuse()
  saved = classifiers.train(common.DATASET.value)
  print(f"{saved.meta['model']}: test accuracy {saved.meta['test_accuracy']:.4f} after "
        f"{saved.meta['num_steps']} steps, in {classifiers.model_folder(common.DATASET.value)}")


if __name__ == "__main__":
  common.run(main)
