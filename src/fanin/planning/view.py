"""A plan as a table for the terminal: parameters that repeat over blocks on one line, each reason said once below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanin.planning.explain import PlanRow, rows
from fanin.text.ascii import to_ascii
from fanin.text.console import WIDTH
from fanin.text.names import clean, one_line, shorten
from fanin.text.numbers import count, figures

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = ["PlanView"]

_Write = Callable[[str], str]
# Title, largest width and side of each column beside the pattern, which takes what is left of the line.
_COLUMNS: tuple[tuple[str, int, Literal["left", "right"]], ...] = (
    ("shape", 16, "left"),
    ("role", 14, "left"),
    ("initializer", 22, "left"),
    ("std", 8, "right"),
    ("why", 4, "right"),
)
_GAP = 2


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
        inner = options.update(width=width, highlight=False)
        for part in (_header(self.plan, write), Text(), _table(table, reasons, width, write), Text()):
            yield from console.render(part, inner)
        for part in (*(_reasons(reasons, write) if self.why else ()), *_warnings(self.plan.warnings, write)):
            yield from console.render(part, inner)


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


def _table(table: Sequence[PlanRow], reasons: Mapping[str, int], width: int, write: _Write) -> RenderableType:
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    drawn.add_column(Text("parameter"), no_wrap=True)
    for title, _, side in _COLUMNS:
        drawn.add_column(Text(title), justify=side, no_wrap=True)
    cells = [_cells(row, reasons, write) for row in table]
    used = sum(max((len(row[i]) for row in [_TITLES, *cells]), default=0) + _GAP for i in range(len(_COLUMNS)))
    room = max(width - used - _GAP, 16)
    for row, line in zip(table, cells, strict=True):
        drawn.add_row(Text(write(shorten(clean(row.pattern), room))), *map(Text, line))
    return drawn


_TITLES = tuple(title for title, _, _ in _COLUMNS)


def _cells(row: PlanRow, reasons: Mapping[str, int], write: _Write) -> tuple[str, ...]:
    std = "" if row.std is None else figures(row.std)
    shape = "×".join(map(str, row.shape)) or "scalar"
    texts = (shape, clean(row.role), clean(row.law), std, str(reasons[row.reason]))
    return tuple(write(shorten(text, limit)) for text, (_, limit, _) in zip(texts, _COLUMNS, strict=True))


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
