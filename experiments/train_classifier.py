"""Trains a classifier, with or without a defense, and prints its test accuracy.

    python experiments/train_classifier.py --dataset=mnist --model_dir=models
    python experiments/train_classifier.py --dataset=cifar10 --network=resnet32 \
        --defense=or --stddev=100

Resumes where it was killed. The folder of the model has metrics.jsonl: loss, accuracy and
images per second every ten steps.
"""

import classifiers
import common
import own_models
import recipes


def main():
  own_models.refuse()
  recipe = recipes.from_flags()
  saved = classifiers.train(common.DATASET.value, recipe)
  print(
    f"{saved.meta['model']}: test accuracy {saved.meta['test_accuracy']:.4f} after "
    f"{saved.meta['num_steps']} steps, in "
    f"{classifiers.model_folder(common.DATASET.value, recipe)}"
  )


if __name__ == "__main__":
  common.run(main)
