"""White-box PGD in ledgers: which attack a record is of, and what papers call it."""

from harness.report import ledgers

_NAMES = {
  "xent": "PGD(Xent)",
  "cw": "PGD(CW)",
  "cw_unbounded": "PGD(CW), unbounded",
  "dlr": "PGD(DLR)",
  "xent_by_stddev": "PGD(Xent), logits / stddev",
  "xent_by_margin": "PGD(Xent), logits / margin",
}
# What --diagnose asks beside, by `search` of the setting; older ledgers have none of them.
_SEARCHES = {
  "square": "Square",
  "rays": "RayS, labels only",
  "smoothed": "PGD(CW), differences of wide smoothing",
}


def loss_name(loss: str) -> str:
  """White-box PGD with a loss, as papers call it."""
  return _NAMES.get(loss, f"PGD({loss})")


def attack_name(record: dict) -> str:
  """The PGD attack of a record in words, without its usual numbers."""
  setting = record["setting"]
  searched = search(record)
  parts = [_SEARCHES[searched] if searched else loss_name(setting["loss"])]
  parts += ["float64"] if setting["float64"] else []
  parts += [f"{setting['restarts']} starts"] if setting["restarts"] > 1 else []
  parts += [f"{record['num_samples']} answers a step"] if record["num_samples"] > 1 else []
  parts += [f"from {setting['substitute']}"] if setting["substitute"] else []
  return ", ".join(parts)


def search(record: dict) -> str | None:
  """What asks instead of following a gradient: "square", "rays" or "smoothed"; None of PGD."""
  return record["setting"].get("search")


def sees_gradients(record: dict) -> bool:
  """Whether the attack follows the attacked model's own gradient."""
  return not search(record) and not record["setting"]["substitute"]


def by_attack(trials: list[dict]) -> list[list[dict]]:
  """Records by what attacked, in the order of the sweep."""
  return ledgers.grouped(trials, "num_samples", "setting")


def usual(trials: list[dict], request: dict) -> list[dict]:
  """Records of PGD of as many steps and starts as were asked for, not of what is dearer."""
  numbers = request["max_steps"], request.get("restarts", 1)
  return [
    record
    for record in trials
    if (record["setting"]["steps"], record["setting"]["restarts"]) == numbers and not search(record)
  ]


def published(trials: list[dict], request: dict, loss: str) -> list[dict]:
  """Records of PGD with a loss as it was asked for: usual steps, starts and precision."""
  return usual(anew(trials, request, loss), request)


def anew(trials: list[dict], request: dict, loss: str) -> list[dict]:
  """Records of PGD with a loss in the precision asked for, of any number of steps and starts."""
  return [
    record
    for record in trials
    if record["setting"]["loss"] == loss
    and record["num_samples"] == request["num_samples"][0]
    and sees_gradients(record)
    and record["setting"]["float64"] == request.get("float64", False)
  ]
