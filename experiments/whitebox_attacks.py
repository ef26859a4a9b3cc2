"""Attacks a classifier through its gradients, noise included; success against variance.

    python experiments/whitebox_attacks.py --dataset=mnist --variance=0 --variance=1e-2
    python experiments/whitebox_attacks.py --attack=pgd --dataset=cifar10 --network=resnet32 \
        --defense=or --stddev=100 --diagnose

As `blackbox_attacks.py`, with an attacker who differentiates through the defended
answers: C&W, the paper's sanity check (section 9.4), or PGD in an l_inf ball (section 7.2),
which attacks logits and by default the classifier without any noise at test time.
`--diagnose` tries all that tells whether PGD's cross-entropy is masked, and says.
"""

import attack_flags
import common
import sweep

if __name__ == "__main__":
  attack_flags.define_attack("carlini_wagner", "pgd")
  common.run(sweep.main)
