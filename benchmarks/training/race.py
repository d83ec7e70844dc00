"""The race: `fanin.init_(model, inputs)` against the framework's default, the authors' start and the classic recipe.

    python -m benchmarks.training.race                 # every line; results in benchmarks/results/race/ and race.md
    python -m benchmarks.training.race relu50 vit      # some lines
    python -m benchmarks.training.race --steps 0.2     # a fifth of the steps: a smoke run
    python -m benchmarks.training.race vit --only auto # one start again, beside the recorded others

Each start's learning rate is tuned on the same grid with seed 0; where the best rate of any of them lies at the edge
of the grid, the grid grows by a rate on that side for all, twice at most. At its best rate each start then runs five
seeds. Batches are the same for all starts of a seed. The loss is the mean training loss of the last 20 steps (for
`siren` the held-out error). A line is won or tied where fanin's mean is not above the best rival's by more than the
seeds' spread.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training import race_models as zoo
from fanin.lab import data
from fanin.lab.compare import Task, compare
from fanin.lab.models import mlp, plain_cnn
from fanin.lab.training import accuracy, batches

SEEDS = 5


# ------------------------------------------------------------------ data
@functools.cache
def images(side: int, flat: bool) -> tuple[Any, Any]:
    digits = data.mnist_digits()
    block = 28 // side
    found = [
        x.reshape(-1, 1, side, block, side, block).mean(axis=(3, 5), dtype=np.float32)
        for x in (digits.x, digits.x_held)
    ]
    mean, std = found[0].mean(), found[0].std()
    found = [(x - mean) / std for x in found]
    return tuple(x.reshape(len(x), -1) for x in found) if flat else tuple(found)


def digit_batches(side: int, flat: bool, size: int, seed: int):
    return batches(images(side, flat)[0], data.mnist_digits().y, size=size, seed=seed)


def digit_score(model: nn.Module, side: int, flat: bool) -> float:
    return accuracy(model, images(side, flat)[1], data.mnist_digits().y_held)


def text_batches(size: int, seed: int):
    codes = data.character_corpus().train
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.integers(0, len(codes) - zoo.CONTEXT - 1, size)
        windows = torch.tensor(np.stack([codes[s : s + zoo.CONTEXT + 1] for s in starts]))
        yield windows[:, :-1], windows[:, 1:]


def text_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


def text_score(model: nn.Module) -> float:
    codes = torch.tensor(data.character_corpus().held[: 200 * (zoo.CONTEXT + 1)]).reshape(200, -1)
    with torch.no_grad():
        return -float(text_loss(model(codes[:, :-1]), codes[:, 1:]))


def adding_batches(size: int, length: int, seed: int):
    rng = np.random.default_rng(seed)
    rows = np.arange(size)
    while True:
        values = rng.random((size, length)).astype(np.float32)
        marks = np.zeros((size, length), np.float32)
        marks[rows, rng.integers(0, length // 2, size)] = 1
        marks[rows, rng.integers(length // 2, length, size)] = 1
        yield torch.tensor(np.stack([values, marks], -1)), torch.tensor((values * marks).sum(1))


@functools.cache
def pixels() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image = torch.tensor(data.sample_image(48)).reshape(-1, 3)
    axis = torch.linspace(-1, 1, 48)
    where = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return where, image, torch.rand(len(where), generator=torch.Generator().manual_seed(0)) < 0.25


def pixel_batches(seed: int):
    where, image, held = pixels()
    while True:
        yield where[~held], image[~held]


def pixel_score(model: nn.Module) -> float:
    where, image, held = pixels()
    with torch.no_grad():
        return -float(F.mse_loss(model(where[held]), image[held]))


# ------------------------------------------------------------------ lines
VOCAB = len(data.character_corpus().characters)
ADAM_PLAIN = (1e-4, 3e-4, 1e-3, 3e-3)
SGD = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the race."""

    model: Callable[[], nn.Module]
    batches: Callable[[int], Any]
    authors: Callable[[nn.Module, int], Any]
    lrs: tuple[float, ...]
    steps: int
    optimizer: str = "adam"
    loss: Callable[[Any, Any], torch.Tensor] = F.cross_entropy
    score: Callable[[nn.Module], float] | None = None
    options: dict[str, Any] | None = None  # given to fanin.init_ beside the recipe
    judged: str = "loss"


def digit_line(model, authors, *, lrs, steps, side=14, flat=True, size=64, optimizer="adam") -> Line:
    return Line(
        model=model,
        authors=authors,
        lrs=lrs,
        steps=steps,
        optimizer=optimizer,
        batches=functools.partial(digit_batches, side, flat, size),
        score=functools.partial(digit_score, side=side, flat=flat),
    )


def text_line(model, authors, *, steps=250, size=8, lrs=(6e-4, 2e-3, 6e-3, 2e-2)) -> Line:
    return Line(
        model=model,
        authors=authors,
        lrs=lrs,
        steps=steps,
        optimizer="adamw",
        batches=functools.partial(text_batches, size),
        loss=text_loss,
        score=text_score,
    )


def stack(depth: int, activation: str, width: int = 64):
    return functools.partial(mlp, [196, *[width] * (depth - 1), 10], activation=activation)


SMALL_IMAGES = {"side": 7, "flat": False, "size": 32}
LINES: dict[str, Line] = {
    "relu50": digit_line(stack(50, "relu"), zoo.he_authors, lrs=SGD, steps=400, optimizer="sgd"),
    "relu50-adam": digit_line(stack(50, "relu"), zoo.he_authors, lrs=ADAM_PLAIN, steps=400),
    "gelu50": digit_line(stack(50, "gelu"), zoo.he_authors, lrs=SGD, steps=400, optimizer="sgd"),
    "sigmoid10": digit_line(stack(10, "sigmoid"), zoo.glorot_logistic_authors, lrs=(1e-3, 3e-3, 1e-2, 3e-2), steps=400),
    "tanh100": digit_line(stack(100, "tanh"), zoo.orthogonal_tanh_authors, lrs=SGD, steps=400, optimizer="sgd"),
    "cnn30": digit_line(functools.partial(plain_cnn, 30), zoo.he_authors, lrs=ADAM_PLAIN, steps=500, **SMALL_IMAGES),
    "resmlp20": digit_line(zoo.ResidualMLP, zoo.fixup_authors, lrs=(3e-4, 1e-3, 3e-3, 1e-2), steps=200),
    "rescnn20": digit_line(zoo.ResidualCNN, zoo.fixup_authors, lrs=(3e-4, 1e-3, 3e-3, 1e-2), steps=200, **SMALL_IMAGES),
    "bnresnet10": digit_line(
        functools.partial(zoo.ResidualCNN, 10, batch_norm=True),
        zoo.resnet_authors,
        lrs=(1e-3, 3e-3, 1e-2, 3e-2),
        steps=150,
        **SMALL_IMAGES,
    ),
    "mixed-widths": digit_line(
        functools.partial(mlp, [784, 1024, 64, 1024, 10]), zoo.he_authors, lrs=ADAM_PLAIN, steps=200, side=28
    ),
    "vit": digit_line(zoo.SmallViT, zoo.vit_authors, lrs=(3e-4, 6e-4, 2e-3, 6e-3), steps=200, flat=False, size=32),
    "prenorm12": text_line(functools.partial(zoo.EncoderLM, VOCAB, True), zoo.gpt2_authors),
    "postnorm12": text_line(
        functools.partial(zoo.EncoderLM, VOCAB, False), zoo.flat_02_authors, lrs=(2e-4, 6e-4, 2e-3, 6e-3)
    ),
    "llama12": text_line(functools.partial(zoo.LlamaStyle, VOCAB), zoo.flat_02_authors),
    "normfree12": text_line(functools.partial(zoo.LlamaStyle, VOCAB, False), zoo.gpt2_authors),
    "lstm-lm": text_line(functools.partial(zoo.LSTMModel, VOCAB), zoo.lstm_authors, lrs=(2e-3, 6e-3, 2e-2, 6e-2)),
    "lstm-adding": Line(
        model=zoo.AddingLSTM,
        batches=functools.partial(adding_batches, 32, 100),
        authors=zoo.lstm_authors,
        lrs=(2e-3, 6e-3, 2e-2),
        steps=600,
        loss=F.mse_loss,
        options={"memory": 100},
    ),
    "siren": Line(
        model=zoo.Siren,
        batches=pixel_batches,
        authors=zoo.siren_authors,
        lrs=(2.5e-5, 1e-4, 4e-4, 1.6e-3, 6.4e-3),
        steps=300,
        loss=F.mse_loss,
        score=pixel_score,
        judged="score",
    ),
}


# ------------------------------------------------------------------ the race
def auto(model: nn.Module, seed: int, *, example: Any, options: dict[str, Any]) -> None:
    fanin.init_(model, example, recipe="auto", seed=seed, **options)


def classic(model: nn.Module, seed: int, *, example: Any) -> None:
    fanin.init_(model, example, recipe="classic", seed=seed)


def starts(line: Line) -> dict[str, Any]:
    example = next(iter(line.batches(0)))[0]
    return {
        "auto": functools.partial(auto, example=example, options=line.options or {}),
        "default": None,
        "authors": line.authors,
        "classic": functools.partial(classic, example=example),
    }


def badness(line: Line, run: Any) -> float:
    if run.diverged:
        return math.inf
    return -run.score if line.judged == "score" else run.final_loss()


def rate(item: tuple[Any, Any]) -> float:
    return item[0].lr


def tuned(line: Line, inits: dict[str, Any], common: dict[str, Any]) -> dict[Any, Any]:
    """Runs of seed 0 over the grid, which grows on the side where a start that trains is best at its edge."""
    runs = dict(compare(inits=inits, seeds=[0], lrs=line.lrs, **common).runs)
    for _ in range(2):
        rates = sorted({s.lr for s in runs})
        best = [min((badness(line, r), s.lr) for s, r in runs.items() if s.init == init) for init in inits]
        ends = {lr for value, lr in best if math.isfinite(value)} & {rates[0], rates[-1]}
        if not ends:
            break
        wider = [float(f"{lr**2 / rates[1 if lr == rates[0] else -2]:.1g}") for lr in sorted(ends)]
        runs |= compare(inits=inits, seeds=[0], lrs=wider, **common).runs
    return runs


def race(name: str, *, share: float, seeds: int, only: str = "", recorded: Any = None) -> dict[str, Any]:
    """Tune on seed 0, then all seeds at the best rate."""
    line = LINES[name]
    others: dict[str, Any] = recorded["starts"] if only else {}
    if only:  # the grid that the others were tuned on
        line = replace(line, lrs=tuple(map(float, others[only]["by_rate"])))
    common: dict[str, Any] = {
        "tasks": [Task(name=name, model=line.model, batches=line.batches, loss=line.loss, score=line.score)],
        "steps": max(5, int(line.steps * share)),
        "optimizer": line.optimizer,
        "progress": False,
    }
    inits = {k: v for k, v in starts(line).items() if only in ("", k)}
    tuning = tuned(line, inits, common)
    found: dict[str, Any] = {}
    for init, start in inits.items():
        at_rate = {s.lr: badness(line, r) for s, r in sorted(tuning.items(), key=rate) if s.init == init}
        best = min(at_rate, key=at_rate.__getitem__)
        runs = [r for s, r in tuning.items() if s.init == init and s.lr == best]
        if seeds > 1:
            runs += compare(inits={init: start}, seeds=range(1, seeds), lrs=[best], **common).runs.values()
        values = [badness(line, r) for r in runs]
        scores = [r.score for r in runs if r.score is not None]
        finite = bool(np.isfinite(values).all())
        found[init] = {
            "lr": best,
            "at_edge": best in (min(at_rate), max(at_rate)),
            "values": values,
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if finite and len(values) > 1 else 0.0 if finite else math.inf,
            "first_loss": float(np.mean([r.initial_loss for r in runs])),
            "held_out": float(np.mean(scores)) if scores else None,
            "by_rate": {f"{k:g}": v for k, v in at_rate.items()},
            "diverged": sum(r.diverged for r in runs),
        }
    if only and recorded["steps"] != common["steps"]:
        raise SystemExit(f"{name} was recorded with {recorded['steps']} steps; rerun all starts to change that")
    told = {"judged": line.judged, "steps": common["steps"], "optimizer": line.optimizer}
    return {**told, "starts": {**others, **found}}


def verdict(line: dict[str, Any]) -> str:
    """'won', 'tied' (within the seeds' spread of the best other start) or 'lost'."""
    ours = line["starts"]["auto"]
    rival = min((v for k, v in line["starts"].items() if k != "auto"), key=lambda v: v["mean"])
    spread = math.hypot(*(x if math.isfinite(x) else 0.0 for x in (ours["std"], rival["std"])))
    if ours["mean"] < rival["mean"] - spread:
        return "won"
    return "tied" if ours["mean"] <= rival["mean"] + spread else "lost"


def markdown(results: dict[str, Any]) -> str:
    newest = max((line["made_with"] for line in results.values()), key=lambda made: made["date"])
    lines = [
        "# The race",
        "",
        f"Newest line: {in_words(newest)} Each file of a line says how that line was made.",
        "",
        f"One thread. Each start at its own best rate of a common grid, {SEEDS} seeds: mean of "
        "the final training loss (siren: held-out squared error) ± std over seeds, in brackets the held-out score "
        "(accuracy, or minus "
        "the loss). Won, tied or lost against the best of the three others, where the difference exceeds the seeds' "
        "spread.",
        "",
        "| line | fanin auto | framework default | authors' | classic | auto has |",
        "| --- | --- | --- | --- | --- | --- |",
    ]

    def cell(v: dict[str, Any]) -> str:
        if not math.isfinite(v["mean"]):
            return f"diverged ({v['diverged']}/{len(v['values'])})"
        held = "" if v["held_out"] is None else f" [{v['held_out']:.3g}]"
        return f"{v['mean']:.3g} ± {v['std']:.2g}{held} @{v['lr']:g}"

    for name, line in results.items():
        cells = [cell(line["starts"][k]) for k in ("auto", "default", "authors", "classic")]
        lines.append(f"| {name} | {' | '.join(cells)} | {verdict(line)} |")
    return "\n".join(lines) + "\n"


def recorded(out: Path, name: str) -> dict[str, Any]:
    """What a folder, or else the committed results, hold of the other starts of a line."""
    for folder in (out, RESULTS / "race"):
        if (folder / f"{name}.json").exists():
            return dict(json.loads((folder / f"{name}.json").read_text()))
    raise SystemExit(
        f"--only reruns one start beside recorded ones, and neither {out} nor {RESULTS / 'race'} has {name}.json; run "
        f"this line once without --only"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", default=[], help=f"of {', '.join(LINES)}")
    parser.add_argument("--steps", type=float, default=1.0, help="share of each line's steps")
    parser.add_argument("--only", choices=("auto", "default", "authors", "classic"), default="", help="start to rerun")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "race", help="folder for one file a line; OUT.md sums up")
    given = parser.parse_args()
    names = given.lines or list(LINES)
    others = {name: recorded(given.out, name) for name in names} if given.only else {}
    given.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        made, begin = header(), time.perf_counter()
        file = given.out / f"{name}.json"
        line = race(name, share=given.steps, seeds=given.seeds, only=given.only, recorded=others.get(name))
        file.write_text(json.dumps({"made_with": made, **line}, indent=1) + "\n")
        print(f"{name}: {verdict(line)} ({time.perf_counter() - begin:.0f} s)", file=sys.stderr, flush=True)
    done = {n: json.loads((given.out / f"{n}.json").read_text()) for n in LINES if (given.out / f"{n}.json").exists()}
    given.out.with_suffix(".md").write_text(markdown(done))
    print(markdown(done))


if __name__ == "__main__":
    main()
