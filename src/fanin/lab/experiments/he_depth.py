"""Depth and the factor two: 22 and 30 ReLU layers under Glorot, He, orthogonal and the automatic recipe."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin import initializers
from fanin.lab import data, figures
from fanin.lab.compare import Task, compare
from fanin.lab.experiments.base import Outcome, Settings
from fanin.lab.models import mlp
from fanin.lab.split import Split
from fanin.lab.training import accuracy, batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.comparison import Comparison

TITLE = "Depth and the factor two: Glorot stalls where He trains"

DEPTHS = (22, 30)
_WIDTH, _BATCH = 128, 64


def _inits() -> dict[str, Any]:
    return {
        "Glorot": initializers.glorot_normal(),
        "He": initializers.he_normal(),
        "orthogonal √2": initializers.Orthogonal(gain=2**0.5),
        "fanin auto": "auto",
    }


def _model(depth: int) -> nn.Module:
    return mlp([784, *[_WIDTH] * depth, 10])


def _batches(digits: Split, seed: int) -> Any:
    return batches(digits.x, digits.y, size=_BATCH, seed=seed)


def run(settings: Settings) -> Outcome:
    """Train both depths with SGD and momentum; each start at its own best rate of the same grid."""
    digits = data.mnist_digits()
    tasks = [
        Task(
            name=f"{depth} ReLU layers",
            model=functools.partial(_model, depth),
            batches=functools.partial(_batches, digits),
            score=functools.partial(accuracy, x=digits.x_held, y=digits.y_held),
        )
        for depth in DEPTHS
    ]
    result = compare(
        tasks=tasks,
        inits=_inits(),
        seeds=[settings.seed + i for i in range(3 if settings.full else 1)],
        lrs=(3e-4, 1e-3, 3e-3, 1e-2) if settings.full else (1e-3, 3e-3),
        steps=1500 if settings.full else 600,
        optimizer="sgd",
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    numbers = {"width": _WIDTH, "chance": 0.1, **result.to_dict()}
    return Outcome(name="he-depth", title=TITLE, numbers=numbers, figure=_draw(result), text=_text(result))


@figures.drawn
def _draw(result: Comparison) -> Figure:
    fig, axes = figures.figure(1, 2, size=(9.0, 3.8), sharey=True)
    for ax, task in zip(axes[0], result.tasks, strict=True):
        figures.curves(ax, result, task)
    return fig


def _text(result: Comparison) -> str:
    def held(init: str, task: str) -> str:
        return f"{result.best(init, task).score or 0.0:.0%}"

    shallow, deep = result.tasks
    glorot, he, orthogonal, auto = result.inits
    return (
        "A ReLU halves the second moment and only He's factor two gives it back, so under Glorot's law the signal of "
        f"{DEPTHS[1]} layers has shrunk to 2⁻¹⁵ of its size. Held-out accuracy with {DEPTHS[0]} layers: Glorot "
        f"{held(glorot, shallow)}, He {held(he, shallow)}, orthogonal {held(orthogonal, shallow)}, fanin's automatic "
        f"recipe {held(auto, shallow)}; with {DEPTHS[1]} layers {held(glorot, deep)} (chance is 10%), "
        f"{held(he, deep)}, {held(orthogonal, deep)} and {held(auto, deep)}. He's scale keeps the gradient alive but "
        "not the difference between inputs, which a ReLU stack forgets layer by layer; the mirrored start of the "
        "automatic recipe keeps both."
    )
