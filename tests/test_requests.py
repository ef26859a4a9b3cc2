"""Flags are read once, typed and bounded; what does not go together is one sentence."""

import ast
import inspect
import pathlib

import mains
import pytest

from harness import app
from harness import attacks
from harness import request
from harness.request import Option

EXPERIMENTS = mains.ROOT / "experiments"
MAINS = sorted(path.stem for path in EXPERIMENTS.glob("*.py"))

# Flags of the black-box main, unless another is named, and what it says of them.
_REFUSED = [
  (["--variance=-1"], "--variance=-1 must be at least 0 and finite"),
  (["--variance=nan"], "--variance=nan must be at least 0 and finite"),
  (["--strength=inf"], "--strength=inf must be at least 0 and finite"),
  (["--dataset=svhn"], "value should be one of <digits|mnist|cifar10|imagenet2012>"),
  (["--num_images=0"], "--num_images=0 must be at least 1 and at most 2147483647"),
  (["--num_images=2147483648"], "--num_images=2147483648 must be at least 1"),
  (["--num_images=many"], "num_images"),
  (["--varianze=1"], "Unknown command line flag 'varianze'"),
  (["--diagnose"], "Unknown command line flag 'diagnose'"),
  (["--spacing=nan"], "--spacing=nan must be above 0 and finite"),
  (["--trade_off=0"], "--trade_off=0 must be above 0 and finite"),
  (["--seed=4294967296"], "--seed=4294967296 must be at least 0 and at most 4294967295"),
  (["--out="], "--out is empty: give it a value, or leave it out"),
  (["--spacing=0.1", "--spacing=0.1"], "--spacing names a value twice: pass each once"),
  (["--strength=1", "--strength=1"], "--strength names a value twice"),
  (["--num_samples=0"], "--num_samples=0 must be at least 1"),
  (["--num_pairs=4"], "--num_pairs is not for --attack=zoo: leave it out"),
  (["--attack=nes", "--num_coordinates=4"], "--num_coordinates is not for --attack=nes"),
  (["--smoothing=1"], "--smoothing is not for --attack=zoo"),
  (["--attack=nes", "--solver=newton"], "--solver is not for --attack=nes"),
  (["--attack=carlini_wagner"], "value should be one of <zoo|"),
  (["--objective=margin", "--non_positive=zero"], "--non_positive is for --objective=log_margin"),
  (["--start=far", "--targeted"], "--start=far is for untargeted attacks"),
  (["--all_targets"], "--all_targets needs --targeted"),
  (["--confidence=1"], "--confidence needs --objective=margin"),
  (["--success_margin=0.5"], "--success_margin needs --objective=margin"),
  (
    ["--objective=margin", "--success_margin=0.5"],
    "success_margin must be from 0 to the confidence of 0.0, not 0.5",
  ),
  (["--confidence=2"], "--confidence=2 must be at least 0 and at most 1"),
  (["--attack=nes", "--smoothing=0"], "--smoothing=0 must be above 0 and finite"),
  (["surplus"], "unexpected argument 'surplus': flags start with --"),
  (["--attack=bandits", "--num_pairs=3"], "--num_pairs is not for --attack=bandits"),
  (["--attack=ql", "--radius=0"], "--radius=0 must be above 0 and finite"),
  (["--attack=ql", "--max_steps=9"], "--max_steps is not for --attack=ql"),
  (["--attack=ql", "--momentum=1"], "--momentum=1 must be at least 0 and below 1"),
  (["--attack=ql", "--plateau=1"], "--plateau=1 compares a loss with itself"),
  (["--importance=frozen"], "--importance needs --sizes"),
  (["--sizes=4"], "--sizes are for CIFAR10 and ImageNet"),
  (["--dataset=imagenet2012"], "orjax trains no ImageNet network: pass yours with --model"),
  (["--model=resnet18"], "--model=resnet18 needs --weights"),
  (["--weights=w.npz"], "--weights is for --model=resnet18"),
  (["--model=a.py:f", "--host_model=b.py:f"], "--model and --host_model name two models"),
  (["--model=a.py:f", "--num_epochs=3"], "--num_epochs is about networks that orjax trains"),
  (["--max_rows=5"], "--max_rows is for --host_model"),
  (["--host_model=a.py:f", "--trace=1"], "--trace replays trials"),
  (["--split=train"], "--split is for --dataset=imagenet2012"),
  (["--data=x.npz", "--dataset=mnist"], "--data and --dataset name two sets of images"),
  (["--data=x.csv"], "--data=x.csv is neither an .npz file nor path/to/file.py:factory"),
  (["--defense=noise"], "--defense=noise is neither path/to/file.py:factory nor one of"),
  (["--defense=a.py:f", "--variance=1"], "--variance is the strength of --defense=output_noise"),
  (["--variance=1", "--strength=2"], "--variance and --strength say the same"),
  (["--defense=none", "--strength=1"], "--strength needs a --defense that has one"),
  (["--network=resnet32"], "orjax trains no resnet32 for digits: pass --network=convnet"),
  (["--noise_location=every"], "--noise_location needs --trained_with=or"),
  (["--num_steps=3", "--num_epochs=3"], "--num_steps and --num_epochs say the same"),
  (["--flagfile=/nonexistent"], "nonexistent"),
]
_REFUSED_BY_OTHERS = [
  ("train_classifier", ["--trained_with=or", "--stddev=-1"], "--stddev=-1 must be at least 0"),
  ("train_classifier", ["--publish=a.safetensors"], "--publish=a.safetensors is a folder"),
  ("train_classifier", ["--num_steps=0"], "--num_steps=0 must be at least 1"),
  ("train_classifier", ["--model=a.py:f"], "Unknown command line flag 'model'"),
  ("train_classifier", ["--network=resnet32"], "orjax trains no resnet32 for digits"),
  ("train_classifier", ["--noise_location=every"], "--noise_location needs --trained_with=or"),
  ("train_classifier", ["--adversary_steps=4"], "--adversary_steps needs --trained_with=pgd"),
  ("whitebox_attacks", ["--attack=pgd", "--max_steps=0"], "--max_steps=0 must be at least 1"),
  ("whitebox_attacks", ["--float64"], "--float64 is not for --attack=carlini_wagner"),
  ("whitebox_attacks", ["--attack=zoo"], "value should be one of <carlini_wagner|apgd|pgd>"),
  ("whitebox_attacks", ["--attack=pgd", "--variance=1"], "works on probabilities"),
  ("whitebox_attacks", ["--attack=pgd", "--trace=1"], "--trace of PGD needs --nostop_at_success"),
  ("whitebox_attacks", ["--host_model=a.py:f"], "--host_model is for attacks that only ask"),
  ("benchmark", ["--variance=7", "--diagnose"], "Unknown command line flag"),
  ("benchmark", ["--model=a.py:f"], "Unknown command line flag 'model'"),
  ("whitebox_attacks", ["--attack=pgd", "--loss=cw", "--loss=cw"], "--loss names a value twice"),
  ("whitebox_attacks", ["--attack=pgd", "--diagnose", "--targeted"], "--diagnose is untargeted"),
  ("whitebox_attacks", ["--attack=apgd", "--lead=2"], "--lead needs --draws=same_draws"),
  ("benchmark", ["--only=none"], "--only=none is not measured: pass 'training' or one of 'zoo'"),
  ("benchmark", ["--seconds=0"], "--seconds=0 must be at least 0.1"),
  ("theory_figures", ["--network=resnet32"], "Unknown command line flag 'network'"),
  ("calibrate", ["--adversary_steps=3"], "--adversary_steps needs --trained_with=pgd"),
  ("calibrate", ["--misclassification_rate=0.6"], "must be above 0 and below 0.5"),
  ("calibrate", ["--host_model=a.py:f"], "--host_model would be asked dozens of times about"),
  ("calibrate", ["--defense=nothing"], "--defense=nothing is neither path/to/file.py:factory nor"),
  ("calibrate", ["--accuracy_drop=0"], "--accuracy_drop=0 must be above 0"),
  ("gradient_error", ["--variance=0"], "--variance=0 must be at least 1e-12"),
]


@pytest.mark.parametrize(
  "main, flags, message",
  [("blackbox_attacks", *each) for each in _REFUSED] + _REFUSED_BY_OTHERS,
  ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags_are_one_sentence(main, flags, message):
  with pytest.raises(ValueError) as found:
    mains.asked(main, *flags)
  assert message in str(found.value) and "\n" not in str(found.value)


def test_the_command_line_replaces_a_flagfile(tmp_path):
  path = tmp_path / "some.flags"
  path.write_text("# a sweep\n--variance=1\n--variance=2\n--num_images=3\n--targeted\n")
  found = mains.asked("blackbox_attacks", f"--flagfile={path}")
  assert found.defense.strengths == [1, 2] and found.num_images == 3 and found.attack.targeted
  found = mains.asked(
    "blackbox_attacks", "--variance=5", f"--flagfile={path}", "--num_images=4", "--notargeted"
  )
  assert found.defense.strengths == [5] and found.num_images == 4 and not found.attack.targeted


@pytest.mark.parametrize("main", MAINS)
def test_help_names_every_option_of_the_main_and_no_other(main, monkeypatch, capsys):
  import importlib

  module = importlib.import_module(main)
  with pytest.raises(request.HelpWanted) as wanted:
    request.parse(module.OPTIONS, [main, "--help"], module.__doc__)
  text = str(wanted.value)
  assert all(f"--{o.name}" in text or f"--[no]{o.name}" in text for o in module.OPTIONS)
  assert "--flagfile" in text and "showprefixforinfo" not in text
  assert all(len(line) <= 100 for line in text.splitlines())


def test_numbers_of_an_attack_are_published_ones_unless_given():
  numbers = mains.asked("blackbox_attacks", "--dataset=mnist").attack.numbers
  assert numbers["trade_off"] == 0.01 and numbers["max_steps"] == 3000
  numbers = mains.asked("blackbox_attacks", "--dataset=mnist", "--max_steps=7").attack.numbers
  assert numbers["max_steps"] == 7 and numbers["binary_search_steps"] == 9
  found = mains.asked("blackbox_attacks", "--data=x.npz").attack
  assert found.numbers["num_coordinates"] == 32, "any data has numbers"
  found = mains.asked("blackbox_attacks", "--attack=ql", "--norm=l2").attack
  assert found.numbers["radius"] == 1.5 and found.max_queries == 10_000
  found = mains.asked(
    "blackbox_attacks", "--attack=ql", "--dataset=imagenet2012", "--model=a.py:f"
  ).attack
  assert found.numbers["objective"] == "cross_entropy"
  found = mains.asked("whitebox_attacks", "--max_steps=50").attack
  assert found.numbers["check_every"] == 5, "C&W checks ten times"


def test_defense_by_default_is_what_makes_sense():
  default = lambda main, *flags: mains.asked(main, *flags).defense[:2]
  assert default("blackbox_attacks") == ("output_noise", None)
  assert default("blackbox_attacks", "--variance=0.5") == ("output_noise", [0.5])
  assert default("blackbox_attacks", "--host_model=a.py:f") == ("none", None)
  assert default("whitebox_attacks", "--attack=pgd") == ("none", None)
  inside = ("--trained_with=or", "--noise_location=every", "--stddev=2")
  assert default("whitebox_attacks", "--attack=pgd", *inside) == ("inner_noise", [2.0])
  assert default("whitebox_attacks", "--attack=pgd", *inside, "--defense=none") == ("none", None)


def test_a_request_without_flags_is_its_own_default():
  for main, *flags in (
    ("blackbox_attacks",),
    ("whitebox_attacks", "--attack=pgd"),
    ("blackbox_attacks", "--attack=ql", "--dataset=mnist"),
  ):
    found = mains.asked(main, *flags)
    assert found.science == {name: found.defaults[name] for name in found.science}


def test_science_changes_with_science_flags_only():
  plain = mains.asked("blackbox_attacks").science
  quick = mains.asked("blackbox_attacks", "--chunk=3", "--num_pictures=0", "--out=elsewhere")
  assert quick.science == plain
  for flag, name in (
    ("--num_images=3", "num_images"),
    ("--variance=1", "strength"),
    ("--spacing=1", "spacing"),
    ("--objective=margin", "objective"),
    ("--defense=none", "defense"),
    ("--server_clips", "server_clips"),
  ):
    changed = mains.asked("blackbox_attacks", flag).science
    assert changed[name] != plain[name] and changed.keys() == plain.keys()


@pytest.mark.parametrize("name, spec", attacks.named().items(), ids=list(attacks.named()))
def test_every_keyword_of_a_build_is_an_option(name, spec):
  options = {option.name: option for option in spec.all_options()}
  parameters = inspect.signature(spec.build).parameters.values()
  keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
  assert set(keywords) <= options.keys()
  assert set(spec.swept) <= set(keywords)
  assert all(options[swept].many for swept in spec.swept)
  for (_, norm), numbers in spec.numbers.items():
    assert numbers.keys() <= {*keywords, "max_queries", "objective"}
    assert (norm is not None) == ("norm" in keywords)


def test_every_number_has_bounds():
  for main in MAINS:
    for option in getattr(__import__(main), "OPTIONS", ()):
      if option.kind in ("integer", "float"):
        assert option.low is not None or option.above is not None, (main, option.name)


def test_only_mains_read_flags():
  """Helpers take values: no flag of absl's is read, or defined, but in two rooms."""
  for path in (EXPERIMENTS / "harness").rglob("*.py"):
    names = {
      name
      for node in ast.walk(ast.parse(path.read_text()))
      for name in (
        [node.module]
        if isinstance(node, ast.ImportFrom)
        else [a.name for a in node.names]
        if isinstance(node, ast.Import)
        else []
      )
    }
    reads = any(name and name.split(".")[0] == "absl" for name in names)
    assert reads == (path.name in ("request.py", "app.py")), path


def test_a_bad_option_is_the_programs_fault():
  with pytest.raises(ValueError, match="--size=3 must be at least 4 and at most 5"):
    request.parse([Option("size", "integer", 4, "size", low=4, high=5)], ["main", "--size=3"])


def test_process_flags_need_a_coordinator():
  values = request.parse(app.SHARING, ["main", "--process_id=1"])
  with pytest.raises(ValueError, match="need --coordinator"):
    app.check_processes(values)


def test_there_are_mains_only():
  assert pathlib.Path(EXPERIMENTS / "harness" / "__init__.py").exists()
  for main in MAINS:
    assert 'if __name__ == "__main__":' in (EXPERIMENTS / f"{main}.py").read_text()
