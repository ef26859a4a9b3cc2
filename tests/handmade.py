"""Folders of records made by hand, and what figures of them show."""

from harness.report.figures import style
from orjax import records

USUAL = {"loss": "xent", "steps": 10, "restarts": 1, "float64": False, "substitute": None}
_RECORD = {
  "dataset": "mnist",
  "model": "convnet_mnist",
  "trained_with": "none",
  "defense": "output_noise",
  "strength": 0.0,
  "attack": "zoo",
  "targeted": False,
  "num_samples": 1,
  "seed": 0,
  "run": 0,
  "index": 0,
  "label": 7,
  "target": None,
  "claimed": False,
  "clean_success": False,
  "defended_success_rate": 0.0,
  "noise_error_rate": 0.0,
  "num_steps": 11,
  "num_queries": 100,
  "l2": 1.5,
  "linf": 0.3,
  "zero_gradients": 0.0,
  "setting": {},
}


def write(path, found, *, axis="noise variance", accuracy=None, **request):
  """A folder of records, of accuracy 0.9 through the defense if nothing else is said."""
  found = [{**_RECORD, **record} for record in found]
  first = found[0]
  names = ("attack", "dataset", "defense", "trained_with", "targeted")
  strengths = sorted({record["strength"] for record in found})
  request = {name: first[name] for name in names} | {"strength": strengths} | request
  records.make_folder(path)
  about = {"axis": axis, "devices": ["cpu"], "training": {"num_steps": 123, "device": "1 x abacus"}}
  records.check_manifest(path, request, about)
  accuracy = accuracy or dict.fromkeys(strengths, 0.9)
  known = {
    f"{s:g}": {"accuracy": a, "interval": [a - 0.01, a + 0.01], "num_images": 1000}
    for s, a in accuracy.items()
  }
  records.write_json(path / "accuracy.json", known)
  ledger = records.Ledger(path)
  for record in found:
    ledger.append(record)
  return str(path)


def _trials(share, num_images=20, **fields):
  """Trials of one setting, of which a share succeed in every way."""
  for index in range(num_images):
    fooled = index < round(share * num_images)
    success = {
      "claimed": fooled,
      "clean_success": fooled,
      "defended_success_rate": float(fooled),
      "zero_gradients": 0.0 if fooled else 0.9,
    }
    yield {**success, "index": index, **fields}


def sweep_over(shares, **fields):
  """Trials over strengths, {strength: share that succeeds}."""
  return [r for s, share in shares.items() for r in _trials(share, strength=s, **fields)]


def pgd(path, attacks, *, accuracy=0.8, defense="none", strength=0.0, **request):
  """A folder of white-box PGD.

  `attacks` are (changes of the setting, share of 20 that fall), and answers averaged if not 1.
  """
  request = {
    "dataset": "cifar10",
    "network": "resnet32",
    "trained_with": "or",
    "stddev": 100.0,
    "noise_location": "logits",
    "float64": False,
    "max_steps": 10,
    "restarts": 1,
    "num_samples": [1],
    **request,
  }
  fields = {"attack": "pgd", "defense": defense, "strength": strength} | {
    "dataset": request["dataset"],
    "model": "resnet32_cifar10-or100",
    "trained_with": request["trained_with"],
  }
  found = []
  for changes, share, num_samples in ((*attack, 1)[:3] for attack in attacks):
    setting = {**USUAL, **changes}
    found += _trials(share, num_samples=num_samples, setting=setting, **fields)
  axis = "stddev inside the network" if defense == "inner_noise" else "strength"
  return write(path, found, axis=axis, accuracy={strength: accuracy}, **request)


def captured(monkeypatch):
  """Figures by the name of their file, instead of files."""
  found = {}
  monkeypatch.setattr(style, "save", lambda figure, path: found.update({path.name: figure}))
  return found


def lines(ax):
  """{label: (x, y)} of the lines that a legend names."""
  lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
  return {line.get_label(): tuple(map(list, line.get_data())) for line in lines if line.get_label()}


def bars(ax):
  """{label: heights} of groups of bars."""
  return {
    group.get_label(): [bar.get_height() for bar in group]
    for group in ax.containers
    if hasattr(group, "patches")
  }


def ticks(axis):
  return [label.get_text() for label in axis.get_ticklabels()]


def cells(table):
  """Header and rows of Markdown."""
  lines = [line for line in table.splitlines() if line.startswith("|") and "--" not in line]
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
