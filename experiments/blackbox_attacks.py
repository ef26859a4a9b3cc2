"""Attacks a classifier through a randomized output; success against noise variance.

    python experiments/blackbox_attacks.py
    python experiments/blackbox_attacks.py --dataset=mnist --variance=0 --variance=1e-4
    python experiments/blackbox_attacks.py --flagfile=experiments/flagfiles/informed_nes.flags

Trains the classifier first if there is none. Interrupted, it resumes; finished, it
prints its table again. Writes records.jsonl, manifest.json, accuracy.json, table.md,
figures and pictures.png to --out.
"""

import attack_flags
import common
import sweep

if __name__ == "__main__":
  attack_flags.define_attack("zoo", "ql", "bandits", "nes")
  common.run(sweep.main)
