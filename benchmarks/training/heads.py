"""Output layers of rms 1 against calm ones of rms 0.1, everything else as `auto` plans it, on real digits.

    python -m benchmarks.training.heads --jobs 2          # results in benchmarks/results/heads.{json,md}

Sixteen networks: fourteen classify MNIST digits of 8 x 8 pixels, one is an autoencoder of them, one predicts the mean
and the spread of the pixels. 100 steps of Adam, each start at its own best rate of a common grid, mean training loss of
the last 20 steps. Both starts of a seed see the same batches, and share all weights but those of the output layer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training.unseen import RATES, at_best_rate, digits, verdict
from benchmarks.training.unseen_models import MODELS
from fanin.lab.training import batches

HEADS = ("unit", "calm")
CLASSIFIERS = (
    "tanh(5x)",
    "mish, 10 layers",
    "leaky 0.3, 15 layers",
    "hardswish, 8 layers, width 50",
    "maxout",
    "highway",
    "residual ReLU, 8 layers",
    "residual norm GELU, 10 layers",
    "attention without norms",
    "mixer",
    "dense concatenation",
    "LSTM written out",
    "convolutions, 4 layers",
    "additive graph attention",
)
Targets = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _net(out: int) -> nn.Module:
    sizes = (64, 64, 64, 64)
    hidden = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(64, out))


def _mean_and_spread(x: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.mean(1), x.std(1)], 1)


# name -> model, targets from (inputs, labels), loss
TASKS: Mapping[str, tuple[Callable[[], nn.Module], Targets, Callable[..., torch.Tensor]]] = {
    **{name: (MODELS[name], lambda x, labels: labels, functional.cross_entropy) for name in CLASSIFIERS},
    "autoencoder": (lambda: _net(64), lambda x, labels: x, functional.mse_loss),
    "mean and spread": (lambda: _net(2), _mean_and_spread, functional.mse_loss),
}


def begun(task: str, head: str, seed: int) -> nn.Module:
    """The model of a task at the start that `auto` gives it with this head."""
    torch.manual_seed(seed)
    model = TASKS[task][0]()
    first = next(batches(*digits(), size=64, seed=seed))[0]
    fanin.init_(model, first, recipe="auto", head=head, seed=seed, on_unknown="keep", trial=False)
    return model


def measured(task: str, steps: int, seeds: int) -> tuple[str, dict[str, Any]]:
    """Both heads of one task, each at its best rate."""
    torch.set_num_threads(1)
    _, targets, loss_of = TASKS[task]

    def objective(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return loss_of(model(inputs), targets(inputs, labels))

    return task, {
        head: at_best_rate([begun(task, head, seed) for seed in range(seeds)], steps, objective) for head in HEADS
    }


def judged(found: Mapping[str, Any]) -> str:
    """Of the paired differences calm - unit."""
    return verdict({"default": found["unit"], "init_": found["calm"]})


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = ["| network | first loss: unit | calm | trained: unit | calm | rates | calm is |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in results.items():
        a, b = found["unit"], found["calm"]
        means = [statistics.fmean(v) for v in (a["first"], b["first"], a["losses"], b["losses"])]
        cells = [name, *(f"{m:.4g}" for m in means), f"{a['rate']:g}, {b['rate']:g}", judged(found)]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", action="append", choices=list(TASKS))
    options = parser.parse_args(argv)
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        names = options.only or list(TASKS)
        for done in as_completed([pool.submit(measured, name, options.steps, options.seeds) for name in names]):
            name, result = done.result()
            found[name] = result
            print(table({name: result}).splitlines()[-1], flush=True)
    results = {name: found[name] for name in TASKS if name in found}
    counts = [judged(one) for one in results.values()]
    summary = ", ".join(f"{counts.count(v)} {v}" for v in ("better", "level", "worse"))
    made = header()
    settings = f"{options.steps} steps, {options.seeds} seeds, rates {', '.join(f'{r:g}' for r in RATES)}"
    parts = (
        "# Output layers: rms 1 against calm",
        f"{in_words(made)} {settings}.",
        f"Calm is {summary}.",
        table(results),
    )
    if options.only is None:
        (RESULTS / "heads.json").write_text(json.dumps({"header": made, "results": results}, indent=1) + "\n")
        (RESULTS / "heads.md").write_text("\n\n".join(parts) + "\n")
    print(parts[2])


if __name__ == "__main__":
    main()
