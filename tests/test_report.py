"""Tables, verdicts and mains of reports: their cells, sentences and values."""

import pathlib

from handmade import cells
from handmade import pgd
from handmade import sweep_over
from handmade import USUAL
from handmade import write
import jax.numpy as jnp
import make_tables
import numpy as np
import plot_figures
import pytest

from harness.report import table1
from harness.report import tables
from harness.report import training_tables
from harness.report import verdict
from orjax import records
from orjax import theory

ROOT = pathlib.Path(__file__).parent.parent


def test_table_of_a_sweep(tmp_path):
  folder = write(tmp_path, sweep_over({1e-4: 0.5, 0.0: 1.0}), accuracy={0.0: 0.99, 1e-4: 0.98})
  header, first, second = cells(tables.attacks(folder))
  assert header[:5] == ["attack", "targeted", "noise variance", "trials", "accuracy"]
  assert first == [
    "zoo",
    "no",
    "0",
    "20",
    "0.9900",
    *["1.00 [0.84, 1.00]"] * 3,
    "1.00",
    "0.00 [0.00, 0.16]",
    "1.50 (1.50)",
    "11",
    "100",
    "0.000",
  ]
  assert second[2:6] == ["0.0001", "20", "0.9800", "0.50 [0.30, 0.70]"]
  assert (header[8], second[8]) == ("of 10 tries", "0.50")


def test_whoever_tries_again_succeeds_more_often(tmp_path):
  found, rates = sweep_over({0.0: 1.0}), [0.1, 0.0, 1.0, 0.5]
  for record, rate in zip(found, rates * len(found)):
    record["defended_success_rate"] = rate
  tried = [1 - 0.9**10, 0, 1, 1 - 0.5**10]
  assert tables.resubmitted(rates) == pytest.approx(np.mean(tried), abs=1e-12)
  by_theory = theory.resubmission_rate(jnp.asarray(rates), tables.TRIES)
  np.testing.assert_allclose(by_theory, tried, rtol=1e-5)
  header, row = cells(tables.attacks(write(tmp_path, found)))
  assert row[header.index("of 10 tries")] == f"{np.mean(tried):.2f}"


def test_table_of_any_defense_and_attack(tmp_path):
  """A stranger's attack with a setting of its own, through two defenses with digits."""
  found = [
    record
    for defense in ("rounding", "label_only")
    for norm in ("l2", None)
    for record in sweep_over(
      {1: 0.5, 2: 0.25}, attack="mine", defense=defense, setting={"norm": norm}
    )
  ]
  header, *rows = cells(tables.attacks(write(tmp_path, found, axis="digits")))
  assert header[:5] == ["attack", "targeted", "defense", "norm", "digits"]
  assert [row[2:5] for row in rows] == [
    [defense, norm, strength]
    for defense in ("label_only", "rounding")
    for norm in ("-", "l2")
    for strength in ("1", "2")
  ]
  assert {row[7].split()[0] for row in rows} == {"0.50", "0.25"}


def test_table_of_white_box_pgd_keeps_the_order_of_the_sweep(tmp_path):
  folder = pgd(tmp_path, [({"steps": 40}, 0.5), ({}, 0.1), ({"float64": True}, 1.0)])
  header, *rows = cells(tables.attacks(folder))
  assert header[2:5] == ["steps", "float64", "strength"] and header[-2] == "blind steps"
  assert [row[2:4] for row in rows] == [["40", "no"], ["10", "no"], ["10", "yes"]]
  assert rows[1][-1].startswith("0.720 [") and rows[1][-2] == "0.810"


@pytest.mark.parametrize(
  "shares, success, said", [(0.9, 0.0, True), (0.9, 1.0, False), (0.3, 0.0, False)]
)
def test_a_blind_attack_that_fails_is_no_evidence(shares, success, said, tmp_path):
  found = sweep_over({0.0: success, 1e-4: 1.0})
  for record in found:
    record["zero_gradients"] = 0.0 if record["strength"] else shares
  text = tables.attacks(write(tmp_path, found))
  assert ("**Blind:** most steps of zoo" in text) == said
  assert not said or (
    "at noise variance 0 (0.90 of them, clean success 0.00)" in text and "--attack=rays" in text
  )
  assert cells(text)[1][-1] == f"{shares:.3f}"


def test_what_attackers_chose_has_a_table_of_its_own(tmp_path):
  found = sweep_over({0.0: 1.0, 1e-4: 1.0, 1e-2: 1.0}, attack="informed_nes")
  early = {"dlr": False, "margin": False, "length": 0.0}  # ended before it had measured
  for number, record in enumerate(found):
    dlr = number % 2 == 0
    record["chosen"] = {"dlr": dlr, "margin": not dlr, "length": 1.0 + 2 * dlr}
    if record["strength"] == 1e-2 or (record["strength"] == 0.0 and number):
      record["chosen"] = early
  first, *_, table, said = tables.attacks(write(tmp_path, found)).split("\n\n")
  size = len(found) // 3
  assert cells(table) == [
    ["attack", "targeted", "noise variance", "chose", "dlr", "margin", "length"],
    ["informed_nes", "no", "0", "1", "1", "0", "3"],
    ["informed_nes", "no", "0.0001", f"{size}", f"{size // 2}", f"{size // 2}", "2"],
    ["informed_nes", "no", "0.01", "0", "-", "-", "-"],
  ]
  assert "chosen" in said and "chose" not in first


def test_whoever_has_gradients_is_not_told_of_probes(tmp_path):
  found = sweep_over({0.0: 0.0}, attack="apgd")
  for record in found:
    record["zero_gradients"] = 1.0
  text = tables.attacks(write(tmp_path, found))
  assert "try an attack that needs no gradient" in text and "--spacing" not in text


def test_folders_that_cannot_be_reported(tmp_path):
  with pytest.raises(FileNotFoundError, match="has no manifest.json"):
    tables.attacks(tmp_path)
  folder = write(tmp_path / "a", sweep_over({0.0: 1.0, 0.5: 1.0}), accuracy={0.0: 0.9})
  with pytest.raises(ValueError, match=r"accuracy.json has no strength 0.5: remove the file"):
    tables.attacks(folder)
  (tmp_path / "a" / "records.jsonl").write_text("")
  with pytest.raises(ValueError, match="there are no records in .*: run its attack first"):
    tables.attacks(folder)


def test_table_1_stands_beside_the_paper(tmp_path):
  shared = {"dataset": "imagenet2012", "model": "mobilenet"}
  folders = [
    write(tmp_path / attack, sweep_over({0.0: 1.0, 1e-4: share}, attack=attack, **shared))
    for attack, share in (("bandits", 0.4), ("ql", 0.5))
  ]
  header, *rows = cells(table1.table1(folders))
  assert header[:4] == ["attack", "variance", "paper", "trials"]
  assert [row[:4] for row in rows] == [
    ["ql", "0", "1.00", "20"],
    ["ql", "0.0001", "0.73", "20"],
    ["bandits", "0", "0.92", "20"],
    ["bandits", "0.0001", "0.58", "20"],
  ]
  assert rows[1][5] == "0.50 [0.30, 0.70]" and rows[1][8] == "0.900 [0.890, 0.910]"
  for changes, sentence in (
    ({"attack": "nes"}, "holds other trials than Table 1's"),
    ({"num_samples": 2}, "other trials than Table 1's"),
    ({"defense": "rounding"}, "against rounding: Table 1 is about output_noise"),
    ({"dataset": "mnist"}, "holds mnist and mobilenet: Table 1 is about one ImageNet model"),
  ):
    folder = write(
      tmp_path / str(len(sentence)),
      sweep_over({0.0: 1.0}, **{"attack": "zoo", **shared, **changes}),
    )
    with pytest.raises(ValueError, match=sentence):
      table1.table1([folder])
  with pytest.raises(ValueError, match="repeats trials of another folder: leave one out"):
    table1.table1([folders[0], folders[0]])


def test_table_2_stands_beside_the_paper_and_says_what_was_not_run(tmp_path):
  masked = pgd(tmp_path / "or", [({}, 0.1), ({"loss": "cw"}, 1.0), ({"steps": 40}, 0.5)])
  plain = pgd(tmp_path / "none", [({}, 1.0), ({"loss": "cw"}, 1.0)], trained_with="none")
  header, *rows = cells(training_tables.table2([masked, plain]))
  assert header[2] == "trained with"
  assert rows[0][:8] == [
    "cifar10",
    "resnet32",
    "or(100)",
    "123",
    "1 x abacus",
    "20",
    "0.800 [0.790, 0.810]",
    "0.9151",
  ]
  # The published attack, not the one of 40 steps; the worst case is of all three.
  assert rows[0][8].startswith("0.720 [") and rows[0][9:11] == ["0.8499", "0.81"]
  assert rows[0][11].startswith("0.000 [") and rows[0][13].endswith("(3)")
  assert len(rows) == 8 and [row[3] for row in rows].count("not run") == 6
  with pytest.raises(ValueError, match="another folder is about, too: leave one out"):
    training_tables.table2([plain, plain])
  other = pgd(tmp_path / "or1", [({}, 0.0)], stddev=1.0)
  row = cells(training_tables.table2([other]))[1]
  assert row[2] == "or(1)" and row[9] == "-"
  inside = pgd(tmp_path / "inside", [({}, 0.0)], defense="inner_noise", strength=0.5)
  with pytest.raises(ValueError, match="is about inner_noise at test time"):
    training_tables.table2([inside])
  own = pgd(tmp_path / "own", [({}, 0.0)], trained_with=None)
  with pytest.raises(ValueError, match="no untargeted white-box PGD on a network that orjax"):
    training_tables.table2([own])


def test_table_4_is_about_noise_inside(tmp_path):
  attacks = [({}, 1.0), ({"loss": "cw"}, 0.5)]
  inside = {"defense": "inner_noise", "noise_location": "every", "stddev": 5}
  header, row = cells(
    training_tables.table4([pgd(tmp_path / "inside", attacks, strength=5.0, **inside)])
  )
  assert header[2:4] == ["noise after", "stddev"]
  assert row[2:4] == ["every convolution", "5"]
  assert row[8].startswith("0.000 [") and row[9].startswith("0.400 [")
  assert row[10:] == ["86.92%", "0.0%", "0.0%"]
  # Another stddev than in training is another thing than the paper's.
  other = pgd(tmp_path / "other", attacks, strength=10.0, **inside)
  row = cells(training_tables.table4([other]))[1]
  assert row[3] == "10 (in training 5)" and row[10:] == ["-", "-", "-"]
  logits = pgd(tmp_path / "logits", attacks)
  with pytest.raises(ValueError, match="not about noise that is inside the network"):
    training_tables.table4([logits])


def test_verdict_blames_masking_only_for_what_it_hides(tmp_path):
  """On the same 20 images; the attacks of a handmade ledger fool the first of them."""
  masked = pgd(tmp_path / "masked", [({"steps": 200}, 0.1), ({}, 0.1), ({"loss": "cw"}, 0.9)])
  assert verdict.verdict(masked) == (
    "Masked: PGD(Xent) leaves an accuracy of 0.720, the worst case of all 3 attacks 0.080 "
    "[0.022, 0.241] (20 images, 95 %). Of the same images 0.800 [0.277, 0.953] more fall to "
    "PGD(CW) than to PGD(Xent). 0.81 of the steps of PGD(Xent) met a gradient of exactly 0. No "
    "attack without gradients was tried."
  )
  weak = pgd(tmp_path / "weak", [({}, 0.1), ({"restarts": 10}, 0.9)])
  assert verdict.verdict(weak).startswith(
    "Undecided (no other attack was tried): PGD(Xent) leaves an accuracy of 0.720, the worst case"
  )
  averaging = pgd(
    tmp_path / "averaging", [({}, 0.1), ({}, 0.9, 20)], defense="inner_noise", strength=0.5
  )
  assert verdict.verdict(averaging).startswith("Masked: PGD(Xent) leaves an accuracy of 0.720")
  blind = pgd(tmp_path / "blind", [({}, 0.1), ({"loss": "cw"}, 0.1), ({"loss": "dlr"}, 0.15)])
  assert verdict.verdict(blind).startswith("Undecided (every gradient was blind, and no other")
  with pytest.raises(ValueError, match="cross-entropy to judge: run with --diagnose"):
    verdict.verdict(pgd(tmp_path / "cw", [({"loss": "cw"}, 0.9)]))


def test_verdict_knows_attacks_without_gradients(tmp_path):
  """They ask more than PGD, which therefore has its starts and steps; PGD(CW) has no part."""
  blind = ({}, 0.1), ({"loss": "cw"}, 0.1)
  square = {"loss": "cw", "steps": 1000, "search": "square"}
  masked = pgd(tmp_path / "masked", [*blind, (square, 0.9)])
  assert "more fall to Square than to PGD(Xent) with more starts and steps. 0.81 of" in (
    verdict.verdict(masked)
  )
  assert verdict.verdict(masked).startswith("Masked") and "No attack" not in verdict.verdict(masked)
  # The published attack of Table 2's column is PGD's, whatever searches beside it.
  found = cells(training_tables.table2([masked]))[1]
  assert found[8].startswith("0.720 [") and found[11].startswith("0.720 [")
  weak = pgd(tmp_path / "weak", [*blind, ({"restarts": 10}, 0.9), (square, 0.9)])
  assert verdict.verdict(weak).startswith("Undecided")
  twin = {"loss": "cw", "substitute": "distilled"}
  assert "fall to PGD(CW), from distilled than to PGD(Xent). 0.81" in (
    verdict.verdict(pgd(tmp_path / "twin", [*blind, (twin, 0.9)]))
  )


def test_verdict_counts_an_image_once_and_by_most_of_its_answers(tmp_path):
  """Two runs of each image; PGD(CW) is right about half of the answers to 20 of 40 images."""
  fields = {"attack": "pgd", "defense": "inner_noise", "strength": 0.5}
  cw = {**USUAL, "loss": "cw"}
  found = [
    {**fields, "index": index, "run": run, "setting": setting, "defended_success_rate": rate}
    for index in range(40)
    for run in (0, 1)
    for setting, rate in ((USUAL, 0.0), (cw, 0.5 if index < 20 else 0.51))
  ]
  request = {"max_steps": 10, "num_samples": [1]}
  sentence = verdict.verdict(write(tmp_path, found, accuracy={0.5: 0.8}, **request))
  assert sentence.startswith("Masked") and " 0.500 [" in sentence


def test_verdict_of_several_strengths(tmp_path):
  fields = {"attack": "pgd", "defense": "inner_noise"}
  shares = {(0.5, "xent"): 0.1, (0.5, "cw"): 0.1, (2.0, "xent"): 0.2, (2.0, "cw"): 1.0}
  found = [
    record
    for (strength, loss), share in shares.items()
    for record in sweep_over({strength: share}, setting={**USUAL, "loss": loss}, **fields)
  ]
  folder = write(
    tmp_path,
    found,
    axis="stddev inside",
    accuracy={0.5: 0.8, 2.0: 0.6},
    max_steps=10,
    num_samples=[1],
  )
  first, second = verdict.verdict(folder).splitlines()
  assert first.startswith("stddev inside 0.5: Undecided (every gradient was blind")
  assert "PGD(Xent) leaves an accuracy of 0.720" in first
  assert second.startswith("stddev inside 2: Masked: PGD(Xent) leaves an accuracy of 0.480")


def test_mains_take_values(tmp_path, capsys):
  folder = write(tmp_path / "zoo", sweep_over({0.0: 0.5}))
  values = {"records": [folder], "out": None, "figure": None, "table": "2"}
  asked = plot_figures.read(values)
  assert asked == ([folder], tmp_path / "zoo", None)
  plot_figures.main(asked)
  assert capsys.readouterr().out == f"figure: {tmp_path / 'zoo' / 'figure2.png'}\n"
  assert make_tables.read(values).out == tmp_path
  network = pgd(tmp_path / "or", [({}, 0.1)])
  make_tables.main(make_tables.read({**values, "records": [network]}))
  table = (tmp_path / "table2.md").read_text()
  assert capsys.readouterr().out == f"{table}table: {tmp_path / 'table2.md'}\n"
  for main in (plot_figures, make_tables):
    with pytest.raises(ValueError, match="--records is missing"):
      main.read({**values, "records": []})


def test_committed_tables_are_made_of_committed_ledgers():
  manifests = sorted((ROOT / "experiments" / "results").rglob("manifest.json"))
  assert len(manifests) >= 60
  for folder in (path.parent for path in manifests):
    text = tables.attacks(folder)
    if records.read_manifest(folder)["request"].get("diagnose"):
      text += "\n\n" + verdict.verdict(folder)
    assert (folder / "table.md").read_text() == text + "\n", folder
