"""Attacks a classifier through its gradients, noise included; success against variance.

    python experiments/whitebox_attacks.py --dataset=mnist --variance=0 --variance=1e-2

As `blackbox_attacks.py`, with an attacker who differentiates through the defended
answers: the paper's sanity check (section 9.4).
"""

import attack_flags
import common
import sweep

if __name__ == "__main__":
  attack_flags.define_attack("carlini_wagner")
  common.run(sweep.main)
