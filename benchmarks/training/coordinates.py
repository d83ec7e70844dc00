"""Coordinate checks of `auto` and `mup` with groups, and of the start as constructed; write the table.

    OMP_NUM_THREADS=1 python -m benchmarks.training.coordinates     # all lines; benchmarks/results/coordinates.md
    OMP_NUM_THREADS=1 python -m benchmarks.training.coordinates mlp # lines of that name, printed only
    ... --kept rows.jsonl                                           # go on where a run with this file was stopped

Each line trains models of several widths for 4 steps on real digits or text, 2 seeds, and fits how far the output of
every map has moved over the width. The objective is cross-entropy, or one fixed direction of the output ("direction"),
whose gradient at the output does not depend on how large the output is at the start.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fanin
from benchmarks.common import RESULTS, header, in_words
from benchmarks.training.race import VOCAB, digit_batches, text_batches, text_loss
from benchmarks.training.race_models import LlamaStyle, SmallViT
from fanin.lab.models import mlp, plain_cnn

WIDE = (64, 128, 256, 512, 1024)
TRANSFORMER = (64, 128, 256, 512)
CHANNELS = (16, 32, 64, 128)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One check.

    Attributes:
        name: of the network.
        build: callable of a width.
        widths: the first is the base.
        batch: callable that gives inputs and targets.
        optimizer: its name.
        lr: rate at the base width.
        allowed: what no slope of `auto` and `mup` is to exceed.
        loss: callable of (output, targets); "direction" trains a fixed direction of the output.
        starts: "auto" and "mup" with groups; None is the start as constructed with one rate.
    """

    name: str
    build: Callable[[int], nn.Module]
    widths: tuple[int, ...]
    batch: Callable[[], Any]
    optimizer: str
    lr: float
    allowed: float
    loss: Any = None
    starts: tuple[str | None, ...] = ("auto", "mup")


def digits(side: int, flat: bool, count: int) -> Any:
    """The first batch of digits."""
    return next(iter(digit_batches(side, flat, count, 0)))


def text() -> Any:
    """The first batch of text."""
    return next(iter(text_batches(4, 0)))


def build_mlp(width: int) -> nn.Module:
    return mlp([196, width, width, width, 10])


def build_cnn(channels: int) -> nn.Module:
    return plain_cnn(4, channels=channels)


def build_llama(width: int) -> nn.Module:
    return LlamaStyle(VOCAB, width=width, depth=2, heads=width // 16, hidden=11 * width // 4)


def build_vit(width: int) -> nn.Module:
    return SmallViT(width=width, depth=2, heads=width // 16)


_MLP = functools.partial(Line, name="mlp", build=build_mlp, widths=WIDE, batch=functools.partial(digits, 14, True, 64))
_PICTURES = functools.partial(digits, 14, False, 16)
LINES = (
    _MLP(optimizer="adamw", lr=1e-3, allowed=0.15, starts=("auto", "mup", None)),
    _MLP(optimizer="sgd", lr=0.01, allowed=0.25, starts=("auto", "mup")),
    _MLP(optimizer="sgd", lr=0.1, allowed=0.25, starts=(None,)),
    _MLP(optimizer="adamw", lr=1e-3, allowed=0.15, loss="direction"),
    _MLP(optimizer="sgd", lr=0.01, allowed=0.15, loss="direction"),
    _MLP(optimizer="muon", lr=0.01, allowed=0.15),
    Line(
        name="cnn", build=build_cnn, widths=CHANNELS, batch=_PICTURES, optimizer="adamw", lr=1e-3, allowed=0.15,
        starts=("auto", "mup", None),
    ),
    Line(
        name="llama", build=build_llama, widths=TRANSFORMER, batch=text, optimizer="adamw", lr=1e-3, allowed=0.3,
        loss=text_loss, starts=("auto", "mup", None),
    ),
    Line(
        name="vit", build=build_vit, widths=TRANSFORMER, batch=_PICTURES, optimizer="adamw", lr=1e-3, allowed=0.3,
        starts=("auto", "mup", None),
    ),
)  # fmt: skip


def checked(line: Line, start: str | None) -> fanin.CoordinateCheck:
    """One check."""
    inputs, targets = line.batch()
    given: dict[str, Any] = {
        "targets": targets,
        "loss": nn.functional.cross_entropy if line.loss is None else line.loss,
    }
    return fanin.coordinate_check(
        line.build,
        line.widths,
        inputs,
        optimizer=line.optimizer,
        lr=line.lr,
        recipe=start,
        **({} if line.loss == "direction" else given),
    )


def row_of(line: Line, start: str | None) -> str:
    """A row in Markdown: the slope of the map that is furthest from 0, and that of the output."""
    check = checked(line, start)
    slopes = {n: s for n, s in check.slopes.items() if math.isfinite(s)}
    worst = max(slopes, key=lambda n: abs(slopes[n]))
    asked = f"within {line.allowed}" if start else "0.4 or more at the output"
    holds = abs(slopes[worst]) <= line.allowed if start else slopes["output"] >= 0.4 and not check.ok
    return (
        f"| {_case(line, start)} | {slopes[worst]:+.2f} ({worst}) | {slopes['output']:+.2f} "
        f"| {'pass' if check.ok else 'fail'} | {asked} | {'yes' if holds else '**no**'} |"
    )


def _case(line: Line, start: str | None) -> str:
    objective = "direction" if line.loss == "direction" else "loss"
    return f"{line.name} | {line.optimizer} {line.lr:g} | {objective} | {start or 'as constructed'}"


def table(lines: tuple[Line, ...], kept: Path | None) -> Iterator[str]:
    """The table in Markdown, printed as it grows; rows that a file keeps are not measured again."""
    yield "| network | optimizer, rate | objective | start | worst slope | at the output | check | asked | holds |"
    yield "|---|---|---|---|---|---|---|---|---|"
    known = dict(map(json.loads, kept.read_text("utf-8").splitlines())) if kept is not None and kept.exists() else {}
    for line, start in ((one, start) for one in lines for start in one.starts):
        case = _case(line, start)
        row = known.get(case) or row_of(line, start)
        if kept is not None and case not in known:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps([case, row]) + "\n")
        print(row, flush=True)
        yield row


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="networks; all, and the table is written, where none is named")
    parser.add_argument("--kept", type=Path, help="file that keeps the rows, to go on from")
    asked = parser.parse_args()
    names = asked.names
    torch.set_num_threads(1)
    made = in_words(header())
    rows = list(table(tuple(line for line in LINES if not names or line.name in names), asked.kept))
    if names:
        return
    head = (
        "# Coordinate checks\n\nSlope of log2 of how far the output of a map has moved after 4 steps over log2 of the "
        "width (MLP 64 to 1024, transformers 64 to 512, channels 16 to 128; 2 seeds). 0 is right.\n\nThe head "
        "of `auto` is not zero, and its output at the start is smaller in a wider model, as 1 / sqrt(width). The "
        "loss then asks less of a wide model: softmax(output) - targets is smaller on the mean over the batch. With a "
        "fixed direction of the output in place of the loss the same laws and rates are level.\n\n"
        "What is asked is asked of the recipe `mup`, which meets it in every line; with a scaled readout it stays "
        "within 0.25\nunder SGD (tests/scaling). `auto` with groups is held to the same numbers to show how far it is "
        "from them: it misses those\nof the MLP where a loss is trained. The recipe `mup`, whose head starts at zero, "
        "ends at a higher loss than `auto` with\ngroups in every network ([transfer](transfer.md)).\n\n"
    )
    (RESULTS / "coordinates.md").write_text(f"{head}{made}\n\n" + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
