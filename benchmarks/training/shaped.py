"""Shaped starts of plain stacks: recipes `dks` and `tat` beside `auto` without its own shaped starts.

    python -m benchmarks.training.shaped                        # all, results in benchmarks/results/shaped.{json,md}
    python -m benchmarks.training.shaped --only "elu 30"        # some lines, printed only

MNIST digits averaged to 14 x 14, batch 64, stacks of width 64, 150 steps. Each start takes the best of four rates by
the mean of two seeds, then runs five seeds at it. All starts of a seed see the same batches. The loss is the mean
training loss of the last 20 steps. A verdict is that of the paired differences to `auto`: level within two standard
errors.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training.race import digit_batches, digit_score
from fanin.errors import FaninError
from fanin.recipes.auto import shaped as rule

WIDTH, SIDE, STEPS, SEEDS, TUNED = 64, 14, 150, 5, 2
RATES = {"adam": (3e-4, 1e-3, 3e-3, 1e-2), "sgd": (1e-3, 3e-3, 1e-2, 3e-2)}
STARTS = ("auto", "dks", "tat")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One stack of the race and its optimizer."""

    activation: Callable[[], nn.Module]
    depth: int
    optimizer: str = "adam"


_KINDS = {"elu": nn.ELU, "selu": nn.SELU, "mish": nn.Mish, "logistic": nn.Sigmoid}
LINES: Mapping[str, Line] = {
    **{f"{name} {depth}": Line(activation=a, depth=depth) for name, a in _KINDS.items() for depth in (10, 15, 30)},
    "tanh 30": Line(activation=nn.Tanh, depth=30),
    **{
        f"{name} {depth}, SGD": Line(activation=_KINDS[name], depth=depth, optimizer="sgd")
        for name, depth in (("elu", 30), ("logistic", 10), ("logistic", 15), ("logistic", 30))
    },
}


def stack(line: Line) -> nn.Sequential:
    sizes = [SIDE * SIDE, *[WIDTH] * line.depth]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), line.activation())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def begun(line: Line, start: str, seed: int) -> nn.Module | None:
    """The stack at its start; None where the recipe refuses it."""
    torch.manual_seed(seed)
    model = stack(line)
    inputs, _ = next(digit_batches(SIDE, True, 64, seed))
    try:
        fanin.init_(model, torch.as_tensor(inputs), recipe=start, seed=seed, trial=False)
    except FaninError:
        return None
    return model


def run(model: nn.Module, optimizer: str, rate: float, seed: int) -> tuple[float, float]:
    """Mean loss of the last 20 steps, and accuracy on held-out digits."""
    if optimizer == "adam":
        steps: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    else:
        steps = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    losses = []
    for inputs, labels in itertools.islice(digit_batches(SIDE, True, 64, seed), STEPS):
        loss = functional.cross_entropy(model(torch.as_tensor(inputs)), torch.as_tensor(labels))
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(float(loss.detach().nan_to_num(9.0).clamp(max=9.0)))
    return statistics.fmean(losses[-20:]), digit_score(model, SIDE, True)


def measured(line: Line, start: str) -> dict[str, Any] | None:
    """A start at its best rate."""
    models = [begun(line, start, seed) for seed in range(SEEDS)]
    if models[0] is None:
        return None

    @functools.cache
    def at(rate: float, seed: int) -> tuple[float, float]:
        return run(copy.deepcopy(models[seed]), line.optimizer, rate, seed)

    tuned = {r: statistics.fmean(at(r, seed)[0] for seed in range(TUNED)) for r in RATES[line.optimizer]}
    rate = min(tuned, key=lambda r: tuned[r])
    losses, held = zip(*(at(rate, seed) for seed in range(SEEDS)), strict=True)
    return {"rate": rate, "losses": list(losses), "held": list(held), "tuned": tuned}


# ---------------------------------------------------------------------- table
def verdict(auto: Sequence[float], other: Sequence[float]) -> str:
    """Of the paired differences other - auto: "better", "worse", or "level" within two standard errors."""
    pairs = [b - a for a, b in zip(auto, other, strict=True)]
    mean, error = statistics.fmean(pairs), statistics.stdev(pairs) / math.sqrt(len(pairs))
    return f"{'level' if abs(mean) <= 2.0 * error else 'better' if mean < 0.0 else 'worse'} ({mean:+.3f} ± {error:.3f})"


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "-"
    mean, sd = statistics.fmean(one["losses"]), statistics.stdev(one["losses"])
    return f"{mean:.3f} ± {sd:.3f} [{statistics.fmean(one['held']):.3f}] @{one['rate']:g}"


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| stack | auto | dks | tat | dks beside auto | tat beside auto |", "| --- | --- | --- | --- | --- | --- |"]
    for name, found in results.items():
        says = [
            "-" if found[s] is None else verdict(found["auto"]["losses"], found[s]["losses"]) for s in ("dks", "tat")
        ]
        rows.append("| " + " | ".join([name, *(_cell(found[s]) for s in STARTS), *says]) + " |")
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(LINES))
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    rule.SHAPED_FROM = rule.SHAPED_LOGISTIC_FROM = math.inf
    torch.set_num_threads(1)
    made, results = header(), {}
    for name in options.only or LINES:
        results[name] = {start: measured(LINES[name], start) for start in STARTS}
        print(table({name: results[name]}).splitlines()[-1], flush=True)
    words = f"# Shaped starts of plain stacks\n\n{in_words(made)}\n\n{table(results)}\n"
    if options.only is None:
        (RESULTS / "shaped.json").write_text(json.dumps({"header": made, "results": results}, indent=1) + "\n")
        (RESULTS / "shaped.md").write_text(words)
    print(words)


if __name__ == "__main__":
    main()
