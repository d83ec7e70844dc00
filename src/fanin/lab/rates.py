"""`rate_sweep`: the best learning rate over widths or depths, and what a rate tuned at the smallest costs elsewhere."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from torch import nn

from fanin.errors import ArgumentError
from fanin.lab import figures
from fanin.lab.compare import Task, compare, task_from
from fanin.lab.comparison import Comparison
from fanin.lab.tables import number
from fanin.model.fresh import assert_callable_with, assert_differ
from fanin.text.columns import Column, ColumnTable
from fanin.text.console import standard_console
from fanin.text.files import write_figure, write_text
from fanin.text.html import html_table
from fanin.text.jsonable import jsonable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RateSweep", "Row", "rate_sweep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One start at one width (or depth).

    Attributes:
        start: its name.
        size: width or depth of the model.
        best_lr: rate of the grid with the smallest mean final loss over the seeds.
        best_loss: that loss.
        base_lr: best rate of this start at the smallest size.
        loss: mean final loss at `base_lr`, inf where a run diverged.
        regret: `loss` - `best_loss`, >= 0.
        octaves: log2(best_lr / base_lr).
        at_edge: the best rate is the first or last of the grid, so that a better one may lie outside.
    """

    start: str
    size: int
    best_lr: float
    best_loss: float
    base_lr: float
    loss: float
    regret: float
    octaves: float
    at_edge: bool


@dataclass(frozen=True)
class RateSweep:
    """Finished runs over sizes and learning rates.

    Attributes:
        comparison: the runs; one task a size.
        sizes: from the smallest to the largest.
        unit: what the sizes are, "width" or "depth".
    """

    comparison: Comparison
    sizes: tuple[int, ...]
    unit: str = "width"

    @property
    def starts(self) -> tuple[str, ...]:
        """Names in the order given."""
        return self.comparison.inits

    @property
    def rates(self) -> tuple[float, ...]:
        """The grid, rising."""
        return tuple(sorted({spec.lr for spec in self.comparison.runs}))

    def loss(self, start: str, size: int, lr: float) -> float:
        """Mean final loss over the seeds; inf where a run diverged."""
        losses = [r.final_loss() for r in self.comparison.seeds_at(start, lr, _task_name(self.unit, size)).values()]
        return fmean(losses) if all(map(math.isfinite, losses)) else math.inf

    def best_lr(self, start: str, size: int) -> float:
        """Rate of the grid with the smallest loss."""
        return min(self.rates, key=lambda lr: self.loss(start, size, lr))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every start at every size."""
        return tuple(self._row(start, size) for start in self.starts for size in self.sizes)

    def _row(self, start: str, size: int) -> Row:
        best, base = self.best_lr(start, size), self.best_lr(start, self.sizes[0])
        best_loss, loss = self.loss(start, size, best), self.loss(start, size, base)
        return Row(
            start=start,
            size=size,
            best_lr=best,
            best_loss=best_loss,
            base_lr=base,
            loss=loss,
            regret=loss - best_loss if math.isfinite(best_loss) else math.nan,
            octaves=math.log2(best / base),
            at_edge=best in (self.rates[0], self.rates[-1]),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: a row for each start and size, and every run; numbers that are not finite are None."""
        return {
            "schema": 1,
            "unit": self.unit,
            "sizes": list(self.sizes),
            "rates": list(self.rates),
            "rows": [_finite(jsonable(row)) for row in self.rows],
            "runs": self.comparison.to_dict()["runs"],
        }

    def __repr__(self) -> str:
        return f"<RateSweep of {len(self.sizes)} sizes ({self.unit}) and {len(self.rates)} rates>"

    def _repr_html_(self) -> str:
        table = self.table()
        return html_table(repr(self)[1:-1], table.heads, table.rows)

    def table(self) -> ColumnTable:
        """The rows as a table that rich prints."""
        titles = {self.unit: 0, "best rate": 0, "loss at best": 2, "base rate": 1, "loss at base": 2, "regret": 0}
        others = tuple(Column(title=title, side="right", rank=rank) for title, rank in titles.items())
        return ColumnTable("start", others, tuple(map(_cells, self.rows)), prose=True)

    def show(self) -> None:
        """Print the table and what it says."""
        from rich.text import Text

        console = standard_console()
        console.print(self.table())
        if any(row.at_edge for row in self.rows):
            console.print(Text("* the first or last rate of the grid: a better one may lie outside"))
        console.print(
            Text(f"regret: what the rate tuned at {self.unit} {self.sizes[0]} costs against the best of the grid")
        )

    def figure(self) -> Figure:
        """Final loss over the learning rate: a panel for each start, a line for each size."""
        return _draw(self)

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, or the figure where the name ends in .png, .svg or .pdf."""
        if Path(path).suffix.lower() in (".png", ".svg", ".pdf"):
            write_figure(path, self.figure())
        else:
            write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")


def _cells(row: Row) -> tuple[str, ...]:
    best = f"{rate_words(row.best_lr)}{'*' if row.at_edge else ' '}"
    losses = (number(row.best_loss), rate_words(row.base_lr), number(row.loss))
    return (row.start, str(row.size), best, *losses, number(row.regret))


def rate_words(lr: float) -> str:
    """A rate as a power of two where it is one.

    Example:
        >>> rate_words(2.0**-7), rate_words(0.003)
        ('2^-7', '0.003')
    """
    exponent = math.log2(lr)
    return f"2^{exponent:.0f}" if exponent == round(exponent) else f"{lr:g}"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _task_name(unit: str, size: int) -> str:
    return f"{unit} {size}"


def rate_sweep(
    build: Callable[[int], nn.Module],
    widths: Sequence[int],
    data: Any,
    *,
    starts: Mapping[str, Any],
    lrs: Sequence[float],
    steps: int = 200,
    seeds: int | Sequence[int] = 3,
    loss: Any = nn.functional.cross_entropy,
    optimizer: Any = "adam",
    batch_size: int = 64,
    unit: str = "width",
    out: str | Path | None = None,
    on: str = "process",
    workers: int | None = None,
    progress: bool | Callable[[str, float], None] = True,
) -> RateSweep:
    """Train every width at every rate from every start; the rate of the smallest width is what is transferred.

    With ``unit="depth"`` the sizes are depths. It is a `fanin.compare` with one task a size: paired runs, and
    `out` goes on after a kill.

    Args:
        build: callable of a width (or depth) that gives a fresh model.
        widths: the sizes, two or more.
        data: as in `fanin.compare`.
        starts: name -> as `inits` of `fanin.compare`; a `fanin.lab.transfer.Transfer` brings parameter groups.
        lrs: the grid of learning rates.
        steps: updates of each run.
        seeds: how many, or which.
        loss: callable of (output, targets).
        optimizer: as in `fanin.compare`.
        batch_size: for arrays.
        unit: what the sizes are called, in tables and figures.
        out: file that keeps the runs.
        on: "process", "joblib" or "ray".
        workers: how many at a time.
        progress: show a bar on stderr, or a callable.

    Raises:
        ArgumentError: fewer than two widths or rates, or what `fanin.compare` refuses.

    Example:
        >>> import torch
        >>> def build(width):
        ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> data = (x, (x[:, 0] > 0).long())
        >>> sweep = rate_sweep(build, (8, 32), data, starts={"default": None}, lrs=(0.01, 0.1), steps=5, seeds=1,
        ...                    progress=False)
        >>> [row.regret for row in sweep.rows]
        [0.0, 0.0]
    """
    sizes = tuple(sorted({int(w) for w in widths}))
    if len(sizes) < 2 or len(set(lrs)) < 2:
        raise ArgumentError(
            f"a sweep needs two different {unit}s and two rates or more; got {unit}s {tuple(widths)} and rates "
            f"{tuple(lrs)}"
        )
    assert_callable_with("build", build, 1)
    assert_differ(build, sizes, unit)
    tasks = [_task(build, unit, size, data, loss, batch_size) for size in sizes]
    result = compare(
        tasks=tasks,
        inits=starts,
        seeds=seeds,
        lrs=lrs,
        steps=steps,
        optimizer=optimizer,
        out=out,
        on=on,
        workers=workers,
        progress=progress,
    )
    return RateSweep(result, sizes, unit)


def _task(build: Callable[[int], nn.Module], unit: str, size: int, data: Any, loss: Any, batch_size: int) -> Task:
    task = task_from(functools.partial(build, size), data, loss=loss, score=None, batch_size=batch_size)
    return Task(name=_task_name(unit, size), model=task.model, batches=task.batches, loss=task.loss, score=task.score)


@figures.drawn
def _draw(sweep: RateSweep) -> Figure:
    columns = 2 if len(sweep.starts) == 4 else min(3, len(sweep.starts))
    lines = math.ceil(len(sweep.starts) / columns)
    fig, axes = figures.figure(lines, columns, size=(3.6 * columns + 0.6, 3.5 * lines), sharey=True, sharex=True)
    for ax in axes.flat[len(sweep.starts) :]:
        ax.set_visible(False)
    for ax, start in zip(axes.flat, sweep.starts, strict=False):
        for i, size in enumerate(sweep.sizes):
            losses = [sweep.loss(start, size, lr) for lr in sweep.rates]
            shown = [v if math.isfinite(v) else math.nan for v in losses]
            figures.series(ax, i, sweep.rates, shown, f"{sweep.unit} {size}")
            best = sweep.best_lr(start, size)
            ax.plot([best], [sweep.loss(start, size, best)], "o", ms=11, mfc="none", mec=figures.style(i)["color"])
        ax.axvline(sweep.best_lr(start, sweep.sizes[0]), color="#555555", linewidth=1, linestyle=":")
        ax.set_xscale("log", base=2)
        ax.tick_params(labelbottom=True)
        ax.set(title=start, xlabel="learning rate (ring: best)", yscale="log")
    axes[0][0].set_ylabel("final loss (gap: diverged)")
    axes[0][0].legend()
    return fig
