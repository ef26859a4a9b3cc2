"""Attacks a classifier through its gradients, noise included; success against strength.

    python experiments/whitebox_attacks.py --dataset=mnist --variance=0 --variance=1e-2
    python experiments/whitebox_attacks.py --attack=pgd --dataset=cifar10 --network=resnet32 \\
        --trained_with=or --stddev=100 --diagnose

As `blackbox_attacks.py`, with an attacker who differentiates through the defended
answers: C&W, the paper's sanity check (section 9.4), or PGD in an l_inf ball (section 7.2),
which attacks logits and by default the classifier without any noise at test time. So does
`--attack=apgd`, which with `--defense` or `--variance`, 0 included, attacks the logarithms of the
defended answers.
`--diagnose` tries all that tells whether PGD's cross-entropy is masked, attacks without gradients
and a twin learnt from the model's answers among it, and says: masked, not masked, or undecided.
"""

from harness import app
from harness import sweep

OPTIONS = sweep.options("gradients", "logits", attack="carlini_wagner", out="runs/whitebox_attacks")

if __name__ == "__main__":
  app.run(OPTIONS, sweep.reader(OPTIONS), sweep.run, shares=True)
