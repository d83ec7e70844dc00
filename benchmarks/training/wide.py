"""Wider networks than those of the race: `auto` against the framework's default, the authors' start and classic.

    python -m benchmarks.training.wide                 # all; results in benchmarks/results/wide.{json,md}
    python -m benchmarks.training.wide gpt192 lstm256  # some: their rows are replaced
    python -m benchmarks.training.wide --steps 0.05    # a twentieth of the steps: a smoke run
    python -m benchmarks.training.wide vit192 --parts build/wide  # goes on where a run that was stopped ended

An MLP of width 512, a CNN of 64 channels, a vision transformer and a language model of width 192, an LSTM of width
256. Real digits and text; the transformers with AdamW and warm-up over a tenth of the steps, the others with Adam. Each
start runs two seeds at three rates, and the grid grows by one rate on a side where the best rate of a start lies at its
edge, at most twice. The loss is the mean training loss of the last 20 steps, at the rate where its mean over the seeds
is least. `--parts` keeps each run in a file of its line, its steps and the commit, so that a line can be run in pieces.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import RESULTS, commit, header, in_words
from benchmarks.training import race_models as zoo
from benchmarks.training.race import VOCAB, Line, digit_line, starts, text_line
from fanin.lab.compare import Task, compare
from fanin.lab.models import mlp, plain_cnn

SEEDS = (0, 1)
RATES = (3e-4, 1e-3, 3e-3)
WARM_UP = 0.1
_GROWTHS = 2


class Warmed(torch.optim.AdamW):
    """AdamW whose rate rises linearly over the first steps."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, *, rising: int) -> None:
        super().__init__(params, lr=lr)
        self.full, self.rising, self.taken = lr, rising, 0

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        self.taken += 1
        for group in self.param_groups:
            group["lr"] = self.full * min(1.0, self.taken / self.rising)
        return super().step(closure)


LINES: Mapping[str, Line] = {
    "mlp512": digit_line(
        functools.partial(mlp, [196, *[512] * 8, 10]), zoo.he_authors, lrs=(1e-4, 3e-4, 1e-3), steps=300
    ),
    "cnn64": digit_line(
        functools.partial(plain_cnn, 12, channels=64), zoo.he_authors, lrs=RATES, steps=300, side=7, flat=False, size=32
    ),
    "vit192": digit_line(
        functools.partial(zoo.SmallViT, width=192, depth=6, heads=3),
        zoo.vit_authors,
        lrs=RATES,
        steps=250,
        flat=False,
        size=16,
        optimizer="adamw",
    ),
    "gpt192": text_line(
        functools.partial(zoo.EncoderLM, VOCAB, True, width=192, depth=8, heads=6),
        zoo.gpt2_authors,
        lrs=RATES,
        steps=300,
    ),
    "lstm256": replace(
        text_line(functools.partial(zoo.LSTMModel, VOCAB, 256), zoo.lstm_authors, lrs=(1e-3, 3e-3, 1e-2), steps=400),
        optimizer="adam",
    ),
}


def optimizer(line: Line, steps: int) -> Any:
    if line.optimizer != "adamw":
        return line.optimizer
    return functools.partial(Warmed, rising=max(1, int(WARM_UP * steps)))


def raced(name: str, share: float, parts: Path | None = None) -> dict[str, Any]:
    """All starts of one line, at every rate with every seed; runs that a file in `parts` holds are not repeated."""
    line = LINES[name]
    steps = max(5, int(line.steps * share))
    settings: dict[str, Any] = {
        "tasks": [Task(name=name, model=line.model, batches=line.batches, loss=line.loss)],
        "inits": starts(line),
        "seeds": SEEDS,
        "steps": steps,
        "optimizer": optimizer(line, steps),
        "progress": False,
    }
    if parts is not None:
        parts.mkdir(parents=True, exist_ok=True)
        settings["out"] = parts / f"{name}-{steps}-{commit()}.jsonl"
    runs = dict(compare(lrs=line.lrs, **settings).runs)
    for _ in range(_GROWTHS):
        wider = beyond(by_start(runs))
        if not wider:
            break
        runs |= compare(lrs=wider, **settings).runs
    seconds = sum(run.seconds for run in runs.values())
    told = {"steps": steps, "optimizer": line.optimizer, "seconds": round(seconds)}
    return {**told, "starts": by_start(runs)}


def by_start(runs: Mapping[Any, Any]) -> dict[str, Any]:
    """For each start: its best rate, the losses there by seed, first losses, and the mean of every rate."""
    found: dict[str, Any] = {}
    for start in dict.fromkeys(spec.init for spec in runs):
        ends: dict[float, list[float]] = {}
        firsts: dict[float, list[float]] = {}
        for spec, run in sorted(runs.items(), key=lambda item: (item[0].lr, item[0].seed)):
            if spec.init == start:
                ends.setdefault(spec.lr, []).append(math.inf if run.diverged else run.final_loss())
                firsts.setdefault(spec.lr, []).append(run.initial_loss)
        means = {rate: statistics.fmean(losses) for rate, losses in ends.items()}
        best = min(means, key=means.__getitem__)
        by_rate = {f"{rate:g}": mean for rate, mean in means.items()}
        found[start] = {"lr": best, "losses": ends[best], "first": firsts[best], "by_rate": by_rate}
    return found


def beyond(found: Mapping[str, Any]) -> list[float]:
    """The next rate on each side of the grid where the best rate of a start lies at the edge."""
    rates = sorted(map(float, next(iter(found.values()))["by_rate"]))
    ends = {start["lr"] for start in found.values()} & {rates[0], rates[-1]}
    return [float(f"{lr**2 / rates[1 if lr == rates[0] else -2]:.1g}") for lr in sorted(ends)]


def verdict(starts_: Mapping[str, Any], rival: str) -> str:
    """`auto` against a rival, seed by seed: "won" or "lost" where all seeds agree, else "tied"."""
    pairs = zip(starts_["auto"]["losses"], starts_[rival]["losses"], strict=True)
    signs = {math.copysign(1.0, b - a) if a != b else 0.0 for a, b in pairs}
    return {1.0: "won", -1.0: "lost"}.get(signs.pop(), "tied") if len(signs) == 1 else "tied"


def table(results: Mapping[str, Any]) -> str:
    rivals = ("default", "authors", "classic")
    rows = [f"| line | steps | auto | {' | '.join(rivals)} | auto against them |", "| --- " * 7 + "|"]
    for name, line in results.items():
        cells = [_cell(line["starts"][start]) for start in ("auto", *rivals)]
        words = ", ".join(f"{verdict(line['starts'], rival)} ({rival})" for rival in rivals)
        rows.append(f"| {name} | {line['steps']}, {line['optimizer']} | {' | '.join(cells)} | {words} |")
    return "\n".join(rows)


def _cell(start: Mapping[str, Any]) -> str:
    return f"{', '.join(f'{loss:.3f}' for loss in start['losses'])} @{start['lr']:g}"


def write(results: Mapping[str, Any]) -> None:
    path = RESULTS / "wide.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    together = {name: {**known, **results}[name] for name in LINES if name in {**known, **results}}
    path.write_text(json.dumps(together, indent=1) + "\n")
    newest = max((line["made_with"] for line in together.values()), key=lambda made: made["date"])
    said = "Mean training loss of the last 20 steps, seed by seed, at the start's best rate (after @)."
    parts = ("# Wider networks", f"Newest line: {in_words(newest)}", said, table(together))
    path.with_suffix(".md").write_text("\n\n".join(parts) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", default=[], help=f"of {', '.join(LINES)}")
    parser.add_argument("--steps", type=float, default=1.0, help="share of each line's steps")
    parser.add_argument("--parts", type=Path, help="folder that keeps finished runs, to go on from")
    options = parser.parse_args(argv)
    for name in options.lines or LINES:
        made = header()
        found = {name: {"made_with": made, **raced(name, options.steps, options.parts)}}
        print(table(found).splitlines()[-1], f"({found[name]['seconds']} s)", flush=True)
        write(found)


if __name__ == "__main__":
    main()
