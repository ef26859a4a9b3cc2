"""Attacks a classifier through a randomized output; success against the defense's strength.

    python experiments/blackbox_attacks.py
    python experiments/blackbox_attacks.py --dataset=mnist --variance=0 --variance=1e-4
    python experiments/blackbox_attacks.py --defense=my_defense.py:factory --strength=0 --strength=1
    python experiments/blackbox_attacks.py --flagfile=experiments/flagfiles/informed_nes.flags

Trains the classifier first where none is published. Interrupted, it resumes; finished, it
prints its table again. Writes records.jsonl, manifest.json, accuracy.json, table.md,
figures and pictures.png to --out.
"""

from harness import app
from harness import sweep

OPTIONS = sweep.options("answers", attack="zoo", out="runs/blackbox_attacks")

if __name__ == "__main__":
  app.run(OPTIONS, sweep.reader(OPTIONS), sweep.run, shares=True)
