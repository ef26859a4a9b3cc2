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


def loss_name(loss: str) -> str:
  """White-box PGD with a loss, as papers call it."""
  return _NAMES.get(loss, f"PGD({loss})")


def attack_name(record: dict) -> str:
  """The PGD attack of a record in words, without its usual numbers."""
  setting = record["setting"]
  parts = [loss_name(setting["loss"])]
  parts += ["float64"] if setting["float64"] else []
  parts += [f"{setting['restarts']} starts"] if setting["restarts"] > 1 else []
  parts += [f"{record['num_samples']} answers a step"] if record["num_samples"] > 1 else []
  parts += [f"from {setting['substitute']}"] if setting["substitute"] else []
  return ", ".join(parts)


def by_attack(trials: list[dict]) -> list[list[dict]]:
  """Records by what attacked, in the order of the sweep."""
  return ledgers.grouped(trials, "num_samples", "setting")


def usual(trials: list[dict], request: dict) -> list[dict]:
  """Records of as many steps and starts as were asked for, not of what --diagnose adds."""
  numbers = request["max_steps"], request.get("restarts", 1)
  return [r for r in trials if (r["setting"]["steps"], r["setting"]["restarts"]) == numbers]


def published(trials: list[dict], request: dict, loss: str) -> list[dict]:
  """Records of PGD with a loss as it was asked for: usual steps, starts and precision."""
  return [
    record
    for record in usual(trials, request)
    if record["setting"]["loss"] == loss
    and record["num_samples"] == request["num_samples"][0]
    and not record["setting"]["substitute"]
    and record["setting"]["float64"] == request.get("float64", False)
  ]
