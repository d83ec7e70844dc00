"""Drawing for the lab: what `fanin.report.plotting` draws, and the pictures of a comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fanin.report.plotting import (
    COLOURS,
    DASHES,
    MARKERS,
    drawn,
    figure,
    histogram,
    log_axis,
    series,
    smooth,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fanin.lab.verdicts import ComparisonData

__all__ = [
    "COLOURS",
    "DASHES",
    "MARKERS",
    "comparison_figure",
    "curves",
    "drawn",
    "figure",
    "histogram",
    "log_axis",
    "series",
    "smooth",
    "style",
]


def curves(ax: Axes, result: ComparisonData, task: str) -> None:
    """Loss over steps of each init at its best rate: the mean of the seeds, and a band over all of them."""
    for i, name in enumerate(result.inits):
        runs = list(result.seeds_at(name, result.best_lr(name, task), task).values())
        length = min(len(r.losses) for r in runs)
        curves = np.stack([smooth(r.losses[:length], 10) for r in runs])
        steps = np.arange(length) + max(r.setup_steps for r in runs)
        series(ax, i, steps, curves.mean(axis=0), f"{name} (lr {result.best_lr(name, task):g})")
        ax.fill_between(
            steps, curves.min(axis=0), curves.max(axis=0), color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0
        )
    if result.target is not None:
        ax.axhline(result.target, color="#555555", linewidth=1, linestyle=":")
    ax.set(xlabel="update", ylabel="training loss (mean of 10)", title=task)
    ax.legend()


def _rates(ax: Axes, result: ComparisonData, task: str) -> None:
    worst = 0.0
    for i, name in enumerate(result.inits):
        by_rate: dict[float, list[float]] = {}
        for spec, run in result.runs.items():
            if spec.init == name and spec.task == task:
                by_rate.setdefault(spec.lr, []).append(run.final_loss())
        rates = sorted(by_rate)
        means = [float(np.mean(by_rate[r])) if all(map(math.isfinite, by_rate[r])) else math.nan for r in rates]
        worst = max([worst, *(m for m in means if math.isfinite(m))])
        series(ax, i, rates, means, name)
    log_axis(ax, "x")
    ax.set(xlabel="learning rate", ylabel="final loss (gap: diverged)", title="final loss over the learning rate")


@drawn
def comparison_figure(result: ComparisonData) -> Figure:
    """Per task: loss over steps at each init's best rate (band: all seeds), and final loss over the learning rate."""
    fig, axes = figure(len(result.tasks), 2, size=(9.5, 3.8 * len(result.tasks)))
    for row, task in zip(axes, result.tasks, strict=True):
        curves(row[0], result, task)
        _rates(row[1], result, task)
    return fig
