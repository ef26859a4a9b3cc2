"""The paper's figures and tables from one command: the list, the rule, the runs, the pages."""

import pathlib

from handmade import pgd
from handmade import sweep_over
from handmade import write
import mains
import pytest
import reproduce

from harness import book
from harness.book import evidence
from harness.book import pages
from harness.book import runs
from harness.book.rows import Claim
from harness.book.rows import Measured
from harness.book.rows import Row
from harness.book.rows import Run
from orjax import records

_LINES = sorted(
  {(scale, run.line) for row in book.ROWS for scale in row.runs for run in row.runs[scale]}
)


def test_the_book_has_every_figure_and_table():
  names = [row.name for row in book.ROWS]
  figures = [f"figure{number}" for number in ("1b", *range(2, 18))]
  assert names == [*figures, "calibration", *(f"table{number}" for number in range(1, 5))]
  assert len(names) == 22


@pytest.mark.parametrize("row", book.ROWS, ids=lambda row: row.name)
def test_every_row_runs_at_every_scale_or_says_why_not(row):
  for scale in book.SCALES:
    planned = row.runs.get(scale, ())
    assert planned or row.why_not[scale], "it neither runs nor says why"
    assert len({run.name for run in planned}) == len(planned)
  assert row.runs["tiny"] and row.runs["paper"]


@pytest.mark.parametrize("scale, line", _LINES, ids=[f"{s} {x}"[:60] for s, x in _LINES])
def test_every_command_is_accepted_by_its_main(scale, line, monkeypatch):
  monkeypatch.chdir(mains.ROOT)
  (each,) = runs.planned([Row("row", "", "", {scale: (Run("run", line, 1),)}, ())], scale)
  main, *flags = runs.command(each, pathlib.Path("out"), [])
  assert (mains.ROOT / main).exists()
  name = pathlib.Path(main).stem
  assert mains.asked(name, *flags).out == "out/row/run"


def test_committed_records_of_a_gpu_are_gone_on_with_anywhere(monkeypatch):
  """Their commands name the slots, of which other devices have other numbers by default."""
  monkeypatch.chdir(mains.ROOT)
  found = 0
  for each in runs.planned(book.ROWS, "cpu"):
    folder = mains.ROOT / "experiments" / "results" / each.folder
    if not (folder / "manifest.json").exists():
      continue
    manifest = records.read_manifest(folder)
    main, *flags = runs.command(each, pathlib.Path("out"), [])
    named = mains.asked(pathlib.Path(main).stem, *flags).slots_per_device
    if not set(manifest["about"].get("devices", [])) <= {"cpu"}:
      found += 1
      assert named == manifest["request"]["slots_per_device"], each.folder
  assert found == 18


@pytest.mark.parametrize("row", book.ROWS, ids=lambda row: row.name)
def test_claims_are_about_runs_that_there_are(row):
  class Asked(dict):
    def __missing__(self, name):
      asked.add(name)
      raise KeyError(name)

  asked = set()
  for claim in row.claims:
    assert evidence.judged(claim, Asked()).agreement == "not run"
  names = {run.name for planned in row.runs.values() for run in planned}
  assert asked <= names
  assert not row.claims or asked & {run.name for run in row.runs["tiny"]}


def test_a_folder_has_one_command():
  for scale in book.SCALES:
    lines = {}
    for row in book.ROWS:
      for run in row.runs.get(scale, ()):
        assert lines.setdefault(row.folder(run), run.line) == run.line


def _claim(value, interval, paper=None, against=None, direction=None):
  reader = lambda numbers: lambda folders: Measured(*numbers, 20)
  return Claim(
    "it", reader((value, *interval)), paper, reader(against) if against else None, direction
  )


@pytest.mark.parametrize(
  "claim, agreement",
  [
    (_claim(0.1, (0.05, 0.3), 0.05), "inside the interval"),
    (_claim(0.0, (1e-17, 0.2), 0.0), "inside the interval"),
    (_claim(0.1, (0.05, 0.3), 0.31), "differs"),
    (_claim(0.1, (0.05, 0.3), 0.31, (0.8, 0.6, 0.9), "lower"), "same direction"),
    (_claim(0.1, (0.05, 0.3), None, (0.8, 0.6, 0.9), "lower"), "same direction"),
    (_claim(0.1, (0.05, 0.3), None, (0.8, 0.6, 0.9), "higher"), "differs"),
    (_claim(0.9, (0.7, 0.95), None, (0.5, 0.4, 0.6), "higher"), "same direction"),
    (_claim(0.9, (0.7, 0.95), None, (0.5, 0.4, 0.75), "higher"), "undecided"),
    (_claim(0.5, (0.4, 0.75), None, (0.9, 0.7, 0.95), "higher"), "undecided"),
    (_claim(0.5, (0.4, 0.6)), "differs"),
  ],
)
def test_agreement_follows_its_rule(claim, agreement):
  assert evidence.judged(claim, {}).agreement == agreement


def test_readers_choose_their_trials(tmp_path):
  found = sweep_over({0.0: 1.0, 1e-4: 0.25}, setting={"spacing": 0.1})
  found += sweep_over({1e-4: 0.75}, setting={"spacing": 1.0})
  folders = {
    "zoo": pathlib.Path(write(tmp_path / "zoo", found)),
    "pgd": pathlib.Path(pgd(tmp_path / "pgd", [({}, 0.25), ({"loss": "cw"}, 1.0)])),
  }
  measured = evidence.success("zoo", strength=1e-4, spacing=0.1)(folders)
  assert measured.value == 0.25 and measured.count == 20
  assert (measured.low, measured.high) == records.wilson(5, 20)
  assert evidence.success("zoo", strength=1e-4, spacing=lambda x: x > 0.5)(folders).value == 0.75
  assert evidence.standing("pgd", loss="xent")(folders).value == pytest.approx(0.8 * 0.75)
  assert evidence.standing("pgd", loss="cw")(folders).value == 0
  assert evidence.accuracy("pgd", loss="cw")(folders) == Measured(0.8, 0.79, 0.81, 1000)
  assert evidence.blind("zoo", strength=0.0)(folders).value == 0
  # What is traced is what the attack lowers: the paper's loss, which it raises, is the opposite.
  common = {"index": 0, "strength": 0.0, "num_samples": 1, "setting": {"loss": "xent"}}
  trials = [{**common, "losses": [-1.0, -x], "without_noise": [-1.0, -x]} for x in (3.0, 5.0)]
  records.write_traces(folders["pgd"], 2, trials)
  assert evidence.loss_at_the_end("pgd", loss="xent")(folders).value == 4
  for missing in (evidence.success("zoo", strength=0.5), evidence.success("nothing")):
    assert evidence.judged(Claim("it", missing), folders).agreement == "not run"


def test_a_mean_has_its_interval():
  found = evidence.mean([1.0, 2.0, 3.0])
  half = 1.96 / 3**0.5
  assert (found.value, found.count) == (2.0, 3)
  assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


_ROW = Row(
  "figure0",
  "Nothing <at all>",
  "It holds.",
  {
    "tiny": (
      Run("dear", "whitebox_attacks --num_images=1", 90),
      Run("cheap", "blackbox_attacks --num_images=2", 1),
      Run("theory", "theory_figures", 2),
    )
  },
  (Claim("success", evidence.success("cheap", strength=0.0), 1.0),),
)


@pytest.fixture
def ran(monkeypatch):
  """Commands that were run; those with `whitebox` fail."""
  lines = []

  def run(line):
    lines.append(line)
    return "it does not fit" if "whitebox" in line[0] else None

  monkeypatch.setattr(runs, "_run", run)
  return lines


def test_cheap_ones_run_first_and_what_does_not_fit_is_told(ran, tmp_path, capsys):
  plan = runs.planned([_ROW, _ROW], "tiny")
  assert [each.folder for each in plan] == [f"figure0/{x}" for x in ("cheap", "theory", "dear")]
  done = runs.make(plan, tmp_path, 1.0, ["--model_dir=m"])
  assert [line[0] for line in ran] == [
    "experiments/blackbox_attacks.py",
    "experiments/theory_figures.py",
  ]
  assert "--model_dir=m" in ran[0] and "--model_dir=m" not in ran[1]
  assert f"--out={tmp_path / 'figure0/cheap'}" in ran[0]
  assert "[3 of 3] left out, about 90 minutes: experiments/whitebox" in capsys.readouterr().out
  assert done.keys() == {"figure0/cheap", "figure0/theory"}


def test_a_failure_is_told_and_tried_again_and_the_rest_is_not(ran, tmp_path, capsys):
  plan = runs.planned([_ROW], "tiny")
  done = runs.make(plan, tmp_path, 8.0, [])
  assert done["figure0/dear"]["failure"] == "it does not fit" and len(ran) == 3
  assert done["figure0/cheap"]["failure"] is None
  (tmp_path / "figure0/cheap").mkdir(parents=True)
  (tmp_path / "figure0/cheap/table.md").write_text("| the table |")
  capsys.readouterr()
  runs.make(plan, tmp_path, 8.0, [])
  assert len(ran) == 4 and "whitebox" in ran[3][0]
  assert "| the table |" in capsys.readouterr().out
  changed = [plan[0]._replace(run=Run("cheap", "blackbox_attacks --num_images=3", 1))]
  runs.make(changed, tmp_path, 8.0, [])
  assert len(ran) == 5, "another command is another run"


def test_the_pages_say_what_became_of_a_row(tmp_path):
  write(tmp_path / "figure0/cheap", sweep_over({0.0: 0.5}))
  (tmp_path / "figure0/cheap/figure2.png").write_bytes(b"")
  done = {
    "figure0/cheap": {"line": "", "minutes": 1.25, "failure": None},
    "figure0/dear": {"line": "", "minutes": 0.1, "failure": "it <does> not fit"},
  }
  why = _ROW._replace(name="figure00", runs={}, why_not={"tiny": "nobody can"}, claims=())
  chapters = [pages.chapter(row, "tiny", tmp_path, done) for row in (_ROW, why)]
  summary = pages.write(chapters, tmp_path, "tiny")
  assert "| figure0 " in summary and "1 differs" in summary and "not run" in summary
  for name in ("book.md", "book.html"):
    text = (tmp_path / name).read_text()
    assert "0.500 [0.299, 0.701], n = 20" in text and "differs" in text
    assert "figure0/cheap/figure2.png" in text and "1.2 minutes" in text
    assert "Not run: nobody can" in text and "cpu, jax ?" in text
    assert "theory_figures.py --out=OUT/figure0/theory" in text and "not run" in text
  page = (tmp_path / "book.html").read_text()
  assert "Nothing &lt;at all&gt;" in page and "it &lt;does&gt; not fit" in page


def test_the_committed_book_and_its_index_say_what_the_folders_hold():
  """`reproduce.py --scale=cpu --out=experiments/results --hours=0 --readme=...` writes them."""
  out = mains.ROOT / "experiments" / "results"
  done = runs.known(out)
  chapters = [pages.chapter(row, "cpu", out, done) for row in book.ROWS]
  assert (out / "book.md").read_text() == pages.markdown(chapters, out, "cpu")
  readme = (mains.ROOT / "experiments" / "README.md").read_text()
  assert readme.split(reproduce.MARKER)[1].strip() == pages.index(chapters, "results")


def test_the_index_goes_between_the_markers_of_a_file(tmp_path, ran, capsys):
  readme = tmp_path / "README.md"
  flags = ("--only=figure1b", f"--out={tmp_path / 'book'}", f"--readme={readme}")
  for text in (None, "no marker", f"{reproduce.MARKER}\nonce"):
    if text:
      readme.write_text(text)
    with pytest.raises(ValueError, match=r"--readme=.*(no such file|twice)"):
      mains.asked("reproduce", *flags)
  readme.write_text(f"before\n{reproduce.MARKER}\nold\n{reproduce.MARKER}\nafter\n")
  (tmp_path / "book" / "figure1b" / "theory").mkdir(parents=True)
  mains.run("reproduce", *flags)
  text = readme.read_text()
  assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
  assert "| the paper" in text and "(book/figure1b/README.md)" in text


def test_the_main_makes_a_book_once(tmp_path, capsys, ran):
  flags = ("--only=figure1b", f"--out={tmp_path}")
  mains.run("reproduce", *flags)
  output = capsys.readouterr().out
  assert "1 commands, about 0.0 hours" in output and len(ran) == 1
  assert "theory_figures.py" in (tmp_path / "book.md").read_text()
  before = (tmp_path / "book.json").read_text()
  mains.run("reproduce", *flags)
  assert "done before" in capsys.readouterr().out and len(ran) == 1
  assert (tmp_path / "book.json").read_text() == before
  mains.run("reproduce", "--only=figure1b", "--hours=0", f"--out={tmp_path / 'none'}")
  assert "left out" in capsys.readouterr().out


def test_a_command_is_a_process_whose_last_words_are_kept(tmp_path, capsys):
  main = str(mains.ROOT / "experiments" / "plot_figures.py")  # which needs no JAX
  assert runs._run([main, "--help"]) is None
  assert "--records" in capsys.readouterr().out
  failure = runs._run([main, f"--records={tmp_path / 'nothing'}"])
  assert failure and "nothing" in failure and "\n" not in failure


def test_a_command_that_fails_ends_in_a_sentence(tmp_path, monkeypatch, ran):
  monkeypatch.setattr(book, "ROWS", (_ROW,))
  asked = mains.asked("reproduce", f"--out={tmp_path}", "--hours=9")._replace(rows=[_ROW])
  with pytest.raises(ValueError, match="1 of 3 commands failed, figure0/dear first: book.md says"):
    reproduce.main(asked)
  assert "failed: it does not fit" in (tmp_path / "book.md").read_text()
