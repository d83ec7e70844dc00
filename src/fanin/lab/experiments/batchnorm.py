"""BatchNorm forgives: the area of init std x depth x learning rate in which training works."""

from __future__ import annotations

import functools
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
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

TITLE = "BatchNorm forgives the initial scale"

DEPTHS = (3, 10)
_WIDTH, _WORKS = 64, 0.5  # training "works" where held-out accuracy passes one half


def _model(depth: int, norm: str) -> nn.Module:
    return mlp([784, *[_WIDTH] * (depth - 1), 10], norm=norm)  # type: ignore[arg-type]


def _batches(digits: Split, seed: int) -> Any:
    return batches(digits.x, digits.y, size=64, seed=seed)


def _stds(full: bool) -> list[float]:
    return [float(s) for s in np.geomspace(0.003, 3.0, 9 if full else 6)]


def run(settings: Settings) -> Outcome:
    """ReLU networks of two depths over a grid of weight std and learning rate, without and with BatchNorm."""
    digits = data.mnist_digits()
    stds = _stds(settings.full)
    rates = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1) if settings.full else (1e-3, 1e-2, 1e-1)
    tasks = [
        Task(
            name=f"{depth} layers, {'BatchNorm' if norm == 'batch' else 'plain'}",
            model=functools.partial(_model, depth, norm),
            batches=functools.partial(_batches, digits),
            score=functools.partial(accuracy, x=digits.x_held, y=digits.y_held),
        )
        for depth, norm in product(DEPTHS, ("none", "batch"))
    ]
    result = compare(
        tasks=tasks,
        inits={f"{s:.3g}": initializers.Normal(std=s) for s in stds},
        seeds=[settings.seed],
        lrs=rates,
        steps=400 if settings.full else 150,
        optimizer="sgd",
        on=settings.on,
        workers=settings.workers,
        progress=settings.progress,
    )
    grids = {t: _grid(result, t, stds, rates) for t in result.tasks}
    numbers = {
        "works_above": _WORKS,
        "stds": stds,
        "learning_rates": list(rates),
        "held_out_accuracy": grids,
        "share_that_works": {t: float(np.mean(np.asarray(g) > _WORKS)) for t, g in grids.items()},
    }
    return Outcome(name="batchnorm", title=TITLE, numbers=numbers, figure=_draw(numbers), text=_text(numbers))


def _grid(result: Comparison, task: str, stds: list[float], rates: tuple[float, ...]) -> list[list[float]]:
    def score(std: float, lr: float) -> float:
        (run,) = result.seeds_at(f"{std:.3g}", lr, task).values()
        return 0.0 if run.diverged or run.score is None else run.score

    return [[score(std, lr) for lr in rates] for std in stds]


@figures.drawn
def _draw(numbers: dict[str, Any]) -> Figure:
    tasks = list(numbers["held_out_accuracy"])
    fig, axes = figures.figure(1, len(tasks), size=(10.5, 3.9), sharey=True)
    for ax, task in zip(axes[0], tasks, strict=True):
        grid = np.asarray(numbers["held_out_accuracy"][task])
        image = ax.imshow(grid, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
        for (i, j), value in np.ndenumerate(grid):
            ax.text(
                j, i, f"{value:.0%}", ha="center", va="center", fontsize=8, color="white" if value < 0.6 else "black"
            )
        ax.set_xticks(range(grid.shape[1]), [f"{r:g}" for r in numbers["learning_rates"]])
        ax.set_yticks(range(grid.shape[0]), [f"{s:.3g}" for s in numbers["stds"]])
        ax.grid(visible=False)
        ax.set(xlabel="learning rate", title=f"{task}\nworks in {numbers['share_that_works'][task]:.0%}")
    axes[0][0].set_ylabel("std of the first weights")
    fig.colorbar(image, ax=axes[0].tolist(), label="held-out accuracy", fraction=0.025)
    return fig


def _text(numbers: dict[str, Any]) -> str:
    share = numbers["share_that_works"]
    parts = [
        f"{share[f'{d} layers, plain']:.0%} against {share[f'{d} layers, BatchNorm']:.0%} for {d} layers"
        for d in DEPTHS
    ]
    return (
        "Share of the grid of weight std and learning rate in which a short training passes 50 % held-out accuracy, "
        f"without and with BatchNorm: {' and '.join(parts)}. A normalised layer gives the same output for any scale "
        "of its weights; the scale still sets the effective learning rate, which is why very large weights learn "
        "slowly."
    )
