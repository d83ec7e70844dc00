"""Tables of the lab, for the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from fanin.text.names import clean

if TYPE_CHECKING:
    from fanin.lab.verdicts import ComparisonData, Verdict

__all__ = ["comparison_table", "number"]


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


def _row(v: Verdict, *, first: bool, target: bool) -> list[str | Text]:
    loss = number(v.final_loss) + ("" if math.isnan(v.final_loss_std) else f" ± {v.final_loss_std:.3f}")
    against = "(compared with)" if first else number(v.difference, "+.3f")
    row: list[str | Text] = [Text(clean(v.init)), f"{v.lr:g}", number(v.initial_loss), loss, number(v.score), against]
    row.append("" if first or v.p_value is None else f"{v.p_value:.2g}")
    if target:
        row += [_reached(v.steps_to_target, ".0f"), _reached(v.seconds_to_target, ".1f")]
    return [*row, f"{v.diverged}/{v.num_runs}"]


def comparison_table(result: ComparisonData) -> Table:
    """Every init at its best learning rate, best first; one block a task."""
    table = Table(title="Each start at its own best learning rate", title_justify="left", header_style="bold")
    table.add_column("start")
    for name in ("best lr", "first loss", "final loss", "held-out", "difference", "p"):
        table.add_column(name, justify="right")
    if result.target is not None:
        table.add_column(f"steps to {result.target:g}", justify="right")
        table.add_column("seconds", justify="right")
    table.add_column("diverged", justify="right")
    many = len(result.tasks) > 1
    last = None
    for verdict in result.verdicts:
        if many and verdict.task != last:
            table.add_section()
            table.add_row(Text(clean(verdict.task), style="bold"))
            last = verdict.task
        table.add_row(*_row(verdict, first=verdict.init == result.inits[0], target=result.target is not None))
    return table
