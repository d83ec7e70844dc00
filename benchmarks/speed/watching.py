"""Cost of watching: ``OMP_NUM_THREADS=1 python -m benchmarks.speed.watching``.

Two copies of one model train on the same batches, a step of one and a step of the other in turns. One is watched on
the default schedule, without the check of the first batch, which costs once what `benchmarks.speed.check_cost` says.
The ratio is that of the sums over 100 steps, in CPU seconds; the least and the largest of the rounds are beside the
median. Rounds in which neither copy is watched show the noise.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import fanin
from benchmarks.accuracy.watched_runs.loop import Batch, characters, rows, vocabulary
from benchmarks.accuracy.watched_runs.models import ConvNet, Gpt, mlp
from benchmarks.common import RESULTS, header, in_words

STEPS, ROUNDS = 100, 5
Case = Callable[[], tuple[nn.Module, Callable[[int], Batch]]]
CASES: dict[str, Case] = {
    "GPT, 3 layers of 128, 8 x 64 characters": lambda: (Gpt(vocabulary(), 128, 3), characters(8, 64)),
    "CNN, 3 convolutions, 64 digits": lambda: (ConvNet(), rows(size=64, shape=(1, 8, 8))),
    "MLP, 3 x 512, 128 digits": lambda: (mlp(3, 512), rows(size=128)),
}


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> tuple[float, torch.Tensor]:
    """(CPU seconds of one step, its loss)."""
    begun = time.process_time()
    x, y = batch
    loss = functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.process_time() - begun, loss


def ratio(case: Case, *, watch: bool) -> float:
    """Seconds of 100 watched steps over those of 100 bare ones, in turns."""
    torch.manual_seed(0)
    model, batch = case()
    pair = [model, copy.deepcopy(model)]
    optimizers = [torch.optim.AdamW(m.parameters(), 1e-3) for m in pair]
    watched = fanin.watch(pair[1], optimizers[1], steps=STEPS, check=False) if watch else None
    spent = [0.0, 0.0]
    for n in range(STEPS):
        given = batch(n)
        for place in ((0, 1), (1, 0))[n % 2]:
            took, loss = step(pair[place], optimizers[place], given)
            begun = time.process_time()
            if watched is not None and place == 1:
                watched.step(loss=loss)
            spent[place] += took + time.process_time() - begun
    return spent[1] / spent[0]


def table(rounds: int) -> str:
    """Markdown: a row a model."""
    lines = ["| model | watched / bare | rounds | bare / bare | rounds |", "| --- | --- | --- | --- | --- |"]
    for name, case in CASES.items():
        cells = []
        for watch in (True, False):
            found = [ratio(case, watch=watch) for _ in range(rounds)]
            cells.append(f"x{statistics.median(found):.3f} | {min(found):.3f} to {max(found):.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "watching_cost.md")
    arguments, made = parser.parse_args(), header()
    torch.set_num_threads(1)
    head = f"# Cost of watching\n\n{in_words(made)}\n\nCPU, one thread, {STEPS} steps a round, AdamW.\n\n"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(head + table(arguments.rounds) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
