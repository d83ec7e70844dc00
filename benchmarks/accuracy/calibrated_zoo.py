"""What calibration changes after `fanin.init_`, over healthy models: ``python -m benchmarks.accuracy.calibrated_zoo``.

A model counts as untouched where no byte of it changes. Of every other one the table names the weights, and the
assumption of the plan that fails there. Runs in portions add up in the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

import fanin
from benchmarks.common import RESULTS, header, in_words
from zoo.health.healthy_held_out import HEALTHY_HELD_OUT
from zoo.health.public import HEALTHY

DATA = RESULTS / "calibrated_zoo.json"
CASES: dict[str, Callable[[], Any]] = {**HEALTHY, **HEALTHY_HELD_OUT}


def record(build: Callable[[], Any]) -> dict[str, Any]:
    """One model: planned by auto, then calibrated on the batch it was planned with."""
    torch.manual_seed(0)
    model, inputs = build()[:2]
    plan = fanin.init_(model, inputs, trial=False, on_unknown="keep")
    before = [p.detach().clone() for p in model.parameters()]
    begun = time.process_time()
    found = fanin.calibrate(model, inputs, plan)
    seconds = time.process_time() - begun
    same = all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    changed = [r for r in found.rows if r.factor != 1.0]
    return {
        "untouched": same,
        "uses": len(found.rows),
        "coverage": found.coverage,
        "status": sorted({r.status for r in found.rows}),
        "changed": [{"name": r.name, "factor": r.factor, "z": r.z, "reason": r.reason} for r in changed],
        "seconds": seconds,
    }


def page(results: dict[str, Any]) -> str:
    """The table."""
    models = {n: r for n, r in results["models"].items() if "failed" not in r}
    untouched = sum(r["untouched"] for r in models.values())
    lines = [
        "# Calibration after a planned start",
        "",
        f"Of {len(models)} healthy models that `auto` has planned, no byte of {untouched} changes "
        f"({untouched / max(len(models), 1):.0%}); {sum(r['uses'] for r in models.values()):,} uses of weights.",
        "",
        in_words(results["header"]),
        "",
        "| model | weight | factor | z | what fails |",
        "|---|---|---|---|---|",
    ]
    for name, r in models.items():
        for one in r["changed"][:3]:
            z = "" if one["z"] is None else f"{one['z']:+.1f}"
            lines.append(f"| {name} | {one['name']} | {one['factor']:.3g} | {z} | {one['reason']} |")
        if len(r["changed"]) > 3:
            lines.append(f"| {name} | {len(r['changed']) - 3} more | | | |")
    failed = {n: r["failed"] for n, r in results["models"].items() if "failed" in r}
    lines += ["", *(f"Not run: {n} ({why})." for n, why in failed.items())]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names; all where none is given")
    chosen = parser.parse_args().models or list(CASES)
    results = json.loads(DATA.read_text()) if DATA.exists() else {"models": {}}
    results["header"] = header()
    for name in chosen:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results["models"][name] = record(CASES[name])
        except Exception as error:  # a library that this machine lacks
            results["models"][name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"}
        print(name, json.dumps(results["models"][name])[:300], flush=True)
        gc.collect()
        DATA.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (RESULTS / "calibrated_zoo.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
