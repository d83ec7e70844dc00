"""A plan as a table: parameters that repeat over blocks on one line, with the reason of each beside it.

The same table in a terminal, through a pipe and by `print`: in colour only where a terminal shows it.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from fanin.planning.data import PlanData
from fanin.planning.rows import PlanRow, rows
from fanin.planning.totals import ModuleTotal, module_totals
from fanin.planning.trial_table import trial_table
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.console import WIDEST, WIDTH, plain_text
from fanin.text.html import html_table
from fanin.text.names import clean, one_line
from fanin.text.numbers import count, figures, share, sizes

__all__ = ["PlanView", "plan_html", "plan_text"]

_Write = Callable[[str], str]
_WHY = Column(title="why", least=18, style="dim")
_COLUMNS = (
    Column(title="shape", rank=2),
    Column(title="role", rank=3),
    Column(title="initializer"),
    Column(title="std", side="right"),
)
_TOTALS = (
    Column(title="parameters", side="right", rank=2),
    Column(title="numbers", side="right"),
    Column(title="share", side="right", rank=1),
    Column(title="kept", side="right", rank=1),
    Column(title="initializers", least=12, style="dim"),
)


def plan_text(plan: PlanData, *, width: int = WIDTH) -> str:
    """The plan as plain text: what `print(plan)` shows."""
    return plain_text(PlanView(plan), width=width).rstrip("\n")


def plan_html(plan: PlanData) -> str:
    """The plan as an HTML table: what a notebook shows."""
    table = rows(plan)
    cells = [(*_cells(row), why) for row, why in zip(table, reasons_beside(table), strict=True)]
    heads = ["parameter", *(column.title for column in (*_COLUMNS, _WHY))]
    lines = "".join(f"<div>warning: {html.escape(one_line(w))}</div>" for w in plan.warnings)
    return html_table(f"plan for {plan.model}, recipe {plan.recipe}, seed {plan.seed}", heads, cells) + lines


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan that rich can print.

    Attributes:
        plan: what to show.
        why: give the reason of each row in words beside it. A reason that later rows share gets a number there.
        tree: show totals per module in place of the parameters.

    Example:
        >>> import fanin, torch
        >>> from rich.console import Console
        >>> plan = fanin.plan(torch.nn.Linear(784, 10), recipe="torch")
        >>> Console(width=100, color_system=None).print(PlanView(plan, why=False))
        plan for Linear  recipe torch   seed 0   parameters 2   numbers 7,850
        <BLANKLINE>
        parameter  shape   role    initializer     std
        ──────────────────────────────────────────────
        weight     10×784  weight  Uniform      0.0206
        bias       10      bias    Uniform      0.0206
        <BLANKLINE>
    """

    plan: PlanData
    why: bool = True
    tree: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Header, table with reasons, warnings."""
        width = min(options.max_width, WIDEST)
        write: _Write = to_ascii if options.ascii_only else str
        parts = Group(
            _header(self.plan, width, write),
            Text(),
            self._tree(width, write) if self.tree else self._table(width, write),
            Text(),
            *_warnings(self.plan.warnings, write),
            *_trial(self.plan, width, write),
        )
        yield from console.render(parts, options.update(width=width, highlight=False))

    def _table(self, width: int, write: _Write) -> RenderableType:
        table = rows(self.plan)
        cells = [_cells(row) for row in table]
        if self.why:
            cells = [(*row, why) for row, why in zip(cells, reasons_beside(table), strict=True)]
        shown = (*_COLUMNS, _WHY) if self.why else _COLUMNS
        return columns("parameter", shown, cells, width=width, write=write)

    def _tree(self, width: int, write: _Write) -> RenderableType:
        totals = module_totals(self.plan)
        cells = [_total_cells(self.plan, total, totals[0].numel) for total in totals]
        kept = any(total.kept for total in totals)
        shown = [column for column in _TOTALS if kept or column.title != "kept"]
        cells = cells if kept else [(*row[:4], row[5]) for row in cells]
        return columns("module", shown, cells, width=width, write=write)


def _total_cells(plan: PlanData, total: ModuleTotal, whole: int) -> tuple[str, ...]:
    """A row of the tree; a range of modules is added up, and says how large each of them is."""
    name = "  " * total.depth + (total.pattern or plan.model)
    each = f" ({total.modules} of {count(total.numel // total.modules)})" if total.modules > 1 else ""
    kept = count(total.kept) if total.kept else ""
    part = share(total.numel / whole if whole else None)
    return (name, f"{total.parameters:,}", count(total.numel) + each, part, kept, ", ".join(total.laws))


def _header(plan: PlanData, width: int, write: _Write) -> RenderableType:
    """What was planned, and facts of it: as many on a line as fit, a name and its value on the same one."""
    first = Text.assemble(("plan for ", "bold"))
    lines = [first.append(write(clean(plan.model)), style="bold cyan")]
    numbers = sum(a.numel for a in plan.assignments.values())
    facts = (("recipe", plan.recipe), ("seed", str(plan.seed)), ("parameters", count(len(plan))))
    gap = "  "
    for name, value in (*facts, ("numbers", count(numbers))):
        pair = Text.assemble((f"{name} ", "dim"), write(clean(value)))
        if lines[-1].cell_len + len(gap) + pair.cell_len > width:
            lines.append(pair)
        else:
            lines[-1].append(gap, style="dim").append_text(pair)
        gap = "   "
    return Group(*lines)


def _cells(row: PlanRow) -> tuple[str, ...]:
    return (row.pattern, sizes(row.shape), row.role, row.law, "" if row.std is None else figures(row.std))


def reasons_beside(table: Sequence[PlanRow]) -> list[str]:
    """The reason of each row; one that several rows share in full at the first, with a number that the others name."""
    times = Counter(row.reason for row in table)
    numbers = {reason: place for place, reason in enumerate((r for r in times if times[r] > 1), start=1)}
    told: set[str] = set()
    made = []
    for reason in (row.reason for row in table):
        words = one_line(reason) or "no reason given"
        made.append(
            words
            if reason not in numbers
            else f"as ({numbers[reason]})"
            if reason in told
            else f"({numbers[reason]}) {words}"
        )
        told.add(reason)
    return made


def _warnings(warnings: Sequence[str], write: _Write) -> list[RenderableType]:
    lines = []
    for warning in warnings:
        line = Text.assemble(("warning: ", "bold yellow"))
        lines.append(Padding(line.append(write(one_line(warning))), (0, 0, 0, 1)))
    return list(lines)


def _trial(plan: PlanData, width: int, write: _Write) -> list[RenderableType]:
    """The start as found above the planned one, of a plan that says something of a trial."""
    data = plan.extras.get("trial")
    if not isinstance(data, Mapping):
        return []
    return [*([Text()] if plan.warnings else []), trial_table(data, width, write)]
