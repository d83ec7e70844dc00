"""Stacks of powers and of functions that are mostly mean, trained from three starts, on real digits.

    python -m benchmarks.training.powers                  # results in benchmarks/results/powers.md

Torch's default, `fanin.init_`, and N(0, 1 / (fan_in E f²)), which keeps the mean size and nothing else. The data, rates
and losses are those of `benchmarks.training.unseen`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training.unseen import RATES, at_best_rate, batches, built, digits
from benchmarks.training.unseen_models import stack
from fanin.initializers import Normal

Function = Callable[[torch.Tensor], torch.Tensor]
FUNCTIONS: Mapping[str, Function] = {
    "relu(x)²": lambda x: torch.relu(x).square(),
    "x²": lambda x: x * x,
    "x |x|": lambda x: x * x.abs(),
    "relu(x)^1.5": lambda x: torch.relu(x) ** 1.5,
    "x³ / (1 + x²)": lambda x: x**3 / (1 + x * x),
    "softplus²": lambda x: functional.softplus(x).square(),
    "sin²": lambda x: torch.sin(x).square(),
    "log cosh": lambda x: torch.log(torch.cosh(x)),
    "x sin x": lambda x: x * torch.sin(x),
    "tanh²": lambda x: torch.tanh(x).square(),
    "exp(-x²)": lambda x: torch.exp(-x * x),
    "1 / (1 + x²)": lambda x: 1 / (1 + x * x),
    "sech": lambda x: 1 / torch.cosh(x),
    "softplus": functional.softplus,
}
STARTS = ("default", "rms 1", "init_")


def kept_size(build: Callable[[], nn.Module], function: Function, seed: int, x: torch.Tensor) -> nn.Module:
    """The model with N(0, 1 / (fan_in E f²)) and zero biases."""
    torch.manual_seed(seed)
    model = build()
    second = float(function(torch.randn(10**6)).square().mean())
    maps = [m for m in model if isinstance(m, nn.Linear)]  # type: ignore[attr-defined]
    laws = {f"{2 * i}.weight": Normal(std=(m.in_features * (second if i else 1.0)) ** -0.5) for i, m in enumerate(maps)}
    zero = {f"{2 * i}.bias": Normal(std=0.0) for i in range(len(maps))}
    fanin.init_(model, x, seed=seed, trial=False, overrides={**laws, **zero})
    return model


def measured(function: Function, depth: int, steps: int, seeds: int) -> dict[str, tuple[float, float]]:
    """(first loss, final loss) of each start at its best rate."""
    batch = [next(batches(*digits(), size=64, seed=seed)) for seed in range(seeds)]

    def build() -> nn.Module:
        return stack(function, depth)

    found = {}
    for start in STARTS:
        begun = [
            kept_size(build, function, s, batch[s][0])
            if start == "rms 1"
            else built(build, "" if start == "init_" else start, s, *batch[s])[0]
            for s in range(seeds)
        ]
        run = at_best_rate(begun, steps)
        found[start] = (statistics.fmean(run["first"]), statistics.fmean(run["losses"]))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--depths", type=int, nargs="*", default=[3, 6])
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    columns = [f"{start}: first loss, trained" for start in STARTS]
    rows = [f"| function | layers | {' | '.join(columns)} |", "| --- | --- | --- | --- | --- |"]
    for name, function in FUNCTIONS.items():
        for depth in given.depths:
            found = measured(function, depth, given.steps, given.seeds)
            cells = [f"{first:.4g}, {end:.3g}" for first, end in found.values()]
            rows.append(f"| {name} | {depth} | {' | '.join(cells)} |")
            print(rows[-1], flush=True)
            write(rows, given.steps, given.seeds)


def write(rows: Sequence[str], steps: int, seeds: int) -> None:
    """The rows so far."""
    rates = ", ".join(f"{r:g}" for r in RATES)
    said = f"{in_words(header())} {steps} steps of Adam, {seeds} seeds, rates {rates}, width 64."
    parts = ("# Powers, and functions that are mostly mean", said, "\n".join(rows))
    (RESULTS / "powers.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
