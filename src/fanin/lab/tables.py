"""Tables of the lab, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.html import html_table

if TYPE_CHECKING:
    from fanin.lab.verdicts import ComparisonData, Verdict

__all__ = ["ComparisonTable", "comparison_html", "number"]


def number(value: float | None, spec: str = ".3f") -> str:
    """A number for a table: a dash for none, words for what is not finite.

    Example:
        >>> number(None), number(float("inf")), number(0.12345)
        ('-', 'diverged', '0.123')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return format(value, spec) if math.isfinite(value) else "diverged"


def _reached(value: float | None, spec: str) -> str:
    return "-" if value is None else "never" if math.isinf(value) else format(value, spec)


def _cells(v: Verdict, columns: Sequence[str], *, first: bool) -> list[str]:
    spread = "" if math.isnan(v.final_loss_std) else f" ± {v.final_loss_std:.3f}"
    cells = {
        "start": v.init,
        "task": v.task,
        "best lr": f"{v.lr:g}",
        "first loss": number(v.initial_loss),
        "final loss": number(v.final_loss) + spread,
        "held-out": number(v.score),
        "difference": "(compared with)" if first else number(v.difference, "+.3f"),
        "p": "" if first or v.p_value is None else f"{v.p_value:.2g}",
        "steps": _reached(v.steps_to_target, ".0f"),
        "seconds": _reached(v.seconds_to_target, ".1f"),
        "diverged": f"{v.diverged}/{v.num_runs}",
    }
    return [cells[name] for name in columns]


_RANKS = MappingProxyType({"best lr": 2, "first loss": 5, "held-out": 3, "seconds": 6, "diverged": 4, "p": 1})


def comparison_html(result: ComparisonData) -> str:
    """The verdicts as an HTML table: what a notebook shows."""
    names = ["start", "task", "best lr", "first loss", "final loss", "held-out", "difference", "p", "diverged"]
    cells = [_cells(v, names, first=v.init == result.inits[0]) for v in result.verdicts]
    return html_table("Each start at its own best learning rate", names, cells)


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """Every start at its best learning rate, best first.

    Attributes:
        result: of `fanin.compare`.
    """

    result: ComparisonData

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A title, the table, what its columns leave open."""
        target = self.result.target
        tasks = ["task"] if len(self.result.tasks) > 1 else []
        timed = [] if target is None else ["steps", "seconds"]
        names = [*tasks, "best lr", "first loss", "final loss", "held-out", "difference", "p", *timed, "diverged"]
        heads = [Column(title=n, side="left" if n == "task" else "right", rank=_RANKS.get(n, 0)) for n in names]
        cells = [_cells(v, ["start", *names], first=v.init == self.result.inits[0]) for v in self.result.verdicts]
        yield Text("Each start at its own best learning rate", style="bold")
        write: Callable[[str], str] = to_ascii if options.ascii_only else str
        yield columns("start", heads, cells, width=options.max_width, write=write, prose=True)
        if target is not None:
            yield Text(f"steps, seconds: until the loss was {target:g}", style="dim")
