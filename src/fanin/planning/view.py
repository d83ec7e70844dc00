"""A plan as a table: parameters that repeat over blocks on one line, each reason once below.

The same table in a terminal, through a pipe and by `print`: in colour only where a terminal shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanin.planning.data import PlanData
from fanin.planning.rows import PlanRow, rows
from fanin.planning.trial_line import trial_line
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text
from fanin.text.names import clean, one_line, shorten
from fanin.text.numbers import count, figures, sizes

__all__ = ["PlanView", "plan_text"]

_Write = Callable[[str], str]
_COLUMNS = (
    Column(title="shape", limit=16),
    Column(title="role", limit=17),
    Column(title="initializer", limit=22),
    Column(title="std", limit=8, side="right"),
    Column(title="why", limit=4, side="right"),
)


def plan_text(plan: PlanData, *, width: int = WIDTH) -> str:
    """The plan as plain text: what `print(plan)` shows."""
    return plain_text(PlanView(plan), width=width).rstrip("\n")


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan that rich can print, at most 100 columns wide.

    Attributes:
        plan: what to show.
        why: print the reasons below the table.

    Example:
        >>> import fanin, torch
        >>> from rich.console import Console
        >>> plan = fanin.plan(torch.nn.Linear(784, 10), recipe="torch")
        >>> Console(width=100, color_system=None).print(PlanView(plan, why=False))
        plan for Linear  recipe torch   seed 0   parameters 2   numbers 7,850
        <BLANKLINE>
        parameter   shape    role     initializer      std   why
        ────────────────────────────────────────────────────────
        weight      10×784   weight   Uniform       0.0206     1
        bias        10       bias     Uniform       0.0206     2
        <BLANKLINE>
    """

    plan: PlanData
    why: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Header, table, reasons, warnings."""
        width = min(options.max_width, WIDTH)
        write: _Write = to_ascii if options.ascii_only else str
        table = rows(self.plan)
        reasons = {row.reason: number for number, row in enumerate({r.reason: r for r in table}.values(), start=1)}
        cells = [_cells(row, reasons) for row in table]
        parts = Group(
            _header(self.plan, write),
            Text(),
            columns("parameter", _COLUMNS, cells, width=width, write=write),
            Text(),
            *(_reasons(reasons, write) if self.why else ()),
            *_warnings(self.plan.warnings, write),
            *_trial(self.plan, write),
        )
        yield from console.render(parts, options.update(width=width, highlight=False))


def _header(plan: PlanData, write: _Write) -> RenderableType:
    line = Text.assemble(("plan for ", "bold"))
    line.append(write(shorten(clean(plan.model), 48)), style="bold cyan")
    numbers = sum(a.numel for a in plan.assignments.values())
    facts = (("recipe", plan.recipe), ("seed", str(plan.seed)), ("parameters", count(len(plan))))
    gap = "  "
    for name, value in (*facts, ("numbers", count(numbers))):
        line.append(f"{gap}{name} ", style="dim").append(write(clean(value)))
        gap = "   "
    return line


def _cells(row: PlanRow, reasons: Mapping[str, int]) -> tuple[str, ...]:
    std = "" if row.std is None else figures(row.std)
    return (row.pattern, sizes(row.shape), row.role, row.law, std, str(reasons[row.reason]))


def _reasons(reasons: Mapping[str, int], write: _Write) -> list[RenderableType]:
    if not reasons:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim", width=4)
    grid.add_column()
    for reason, number in reasons.items():
        grid.add_row(Text(str(number)), Text(write(one_line(reason) or "no reason given")))
    return [grid]


def _warnings(warnings: Sequence[str], write: _Write) -> list[RenderableType]:
    lines = []
    for warning in warnings:
        line = Text.assemble(("warning: ", "bold yellow"))
        lines.append(Padding(line.append(write(one_line(warning))), (0, 0, 0, 1)))
    return list(lines)


def _trial(plan: PlanData, write: _Write) -> list[RenderableType]:
    """The line that compares the start as found with the planned one, of a plan that says something of a trial."""
    data = plan.extras.get("trial")
    return [Text(write(one_line(trial_line(data))))] if isinstance(data, Mapping) else []
