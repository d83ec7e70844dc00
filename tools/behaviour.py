"""What fanin says of the zoos, as JSON, so that two commits can be compared: plans byte for byte, findings, fills.

python -m tools.behaviour dump OUT.json          # about eight minutes on one core
python -m tools.behaviour compare OLD.json NEW.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import fanin
import fanin.errors
from zoo import zoo
from zoo.health.public import BROKEN, HEALTHY

RECIPES = ("auto", "classic", "orthogonal", "keep", "torch")


def plans() -> dict[str, Any]:
    return {f"plan {recipe} {name}": _plan(build, recipe) for name, build in zoo().items() for recipe in RECIPES}


def _plan(build: Callable[[], tuple[torch.nn.Module, Mapping[str, Any]]], recipe: str) -> Any:
    torch.manual_seed(0)
    model, inputs = build()
    try:
        plan = fanin.plan(model, inputs, recipe=recipe, on_unknown="keep")
    except fanin.errors.FaninError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {**json.loads(plan.to_json()), "weights": _weights(plan, model)}


def _weights(plan: fanin.Plan, model: torch.nn.Module) -> str:
    """One digest over the bits of every parameter after `apply_`."""
    plan.apply_(model)
    digest = hashlib.blake2b(digest_size=16)
    for name, p in model.named_parameters():
        digest.update(name.encode())
        digest.update(p.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def findings() -> dict[str, Any]:
    cases = {**{f"healthy {n}": c for n, c in HEALTHY.items()}, **{f"broken {n}": c for n, c in BROKEN.items()}}
    out = {}
    for name, case in cases.items():
        torch.manual_seed(0)
        model, inputs, loss, _ = case()
        report = fanin.check(model, inputs, loss=loss)
        out[f"check {name}"] = [[f.code, f.severity, list(f.paths), str(f.value)] for f in report.findings]
    return out


def dump(out: Path) -> None:
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.write_text(json.dumps(plans() | findings(), indent=1, sort_keys=True) + "\n")


def compare(old: Path, new: Path) -> int:
    """Print every leaf that differs; 1 where any does."""
    before, after = json.loads(old.read_text()), json.loads(new.read_text())
    lines = list(_differences("", before, after))
    print("\n".join(lines) or "no difference")
    return int(bool(lines))


def _differences(where: str, a: Any, b: Any) -> Any:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            yield from _differences(f"{where} / {key}", a.get(key, "absent"), b.get(key, "absent"))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from _differences(f"{where}[{i}]", x, y)
    elif a != b:
        yield f"{where}: {json.dumps(a)[:300]} -> {json.dumps(b)[:300]}"


if __name__ == "__main__":
    if sys.argv[1] == "compare":
        sys.exit(compare(Path(sys.argv[2]), Path(sys.argv[3])))
    dump(Path(sys.argv[2]))
