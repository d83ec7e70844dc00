"""What a calibration found and did: one row a use of a weight, as data and as a table."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanin.calibration.judge import Status
from fanin.planning.plan import Plan
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text, prose_width, standard_console
from fanin.text.files import write_text
from fanin.text.html import html_table
from fanin.text.jsonable import jsonable
from fanin.text.names import clean, one_line, shorten
from fanin.text.numbers import MISSING, big, counted, figures, share, standard_errors
from fanin.text.paths import group_paths

__all__ = ["Calibration", "Row", "Scores", "is_reached"]

SCHEMA = "fanin-calibration/1"
_REACHED: frozenset[Status] = frozenset({"corrected", "centred", "in tolerance", "clipped", "zero by plan"})
_CHANGED: frozenset[Status] = frozenset({"corrected", "centred", "clipped"})
_NEEDS_NOTHING: frozenset[Status] = frozenset({"norm behind", "not asked", "zero by plan", "never used"})


def is_reached(status: Status) -> bool:
    """Whether an output can be brought to its target, or needs to be at none."""
    return status in _REACHED or status in _NEEDS_NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One use of one part of a weight.

    Attributes:
        parameter: qualified name of the weight.
        part: which of its parts ("attn_q", "[2, 0:64]"); empty for all of it.
        use: path of the module that runs the operation, and the operation.
        op: the operation.
        before: size of the output without its bias, under corrected inputs and the weight as it was; None where it
            could not be measured.
        target: what that should be; None where unknown.
        factor: what the weight is multiplied by; 1 where it stays.
        after: size in a second forward pass, under the written weights; None where none was run.
        z: ln(before / target) in standard errors; None where there is no target.
        samples: number of samples that `before` is over.
        status: what became of it.
        reason: one sentence; empty where there is nothing to say.
    """

    parameter: str
    part: str = ""
    use: str = ""
    op: str = ""
    before: float | None = None
    target: float | None = None
    factor: float = 1.0
    after: float | None = None
    z: float | None = None
    samples: int = 0
    status: Status
    reason: str = ""

    @property
    def name(self) -> str:
        """The weight, and the part of it."""
        return f"{self.parameter} {self.part}" if self.part else self.parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of one attention after calibration; they stay as they are.

    Attributes:
        module: path of the module that runs it.
        keys: how many keys a query sees.
        spread: standard deviation of the scores of one query over its keys, root mean square over heads and queries.
        entropy: of the softmax, over ln(keys): 1 where all keys weigh alike, 0 where one has all the weight.
    """

    module: str
    keys: int
    spread: float
    entropy: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `fanin.calibrate` found and did.

    Attributes:
        model: class name of the model.
        rows: one a use of a weight, in the order of the forward pass; then the weights that have none.
        make_plan: reads what `plan` gives.
        forwards: how often the model was run.
        tolerance: standard errors that were asked for.
        most_z: standard errors within which one weight stays, so that chance touches the model as rarely as it would
            one map with the tolerance.
        written: whether the model was changed.
        warnings: what the reader should know.
        scores: what each attention puts through its softmax, in the order of the forward pass.
    """

    model: str
    rows: tuple[Row, ...]
    make_plan: Callable[[], Plan] = field(repr=False, compare=False)
    forwards: int
    tolerance: float
    most_z: float
    written: bool
    warnings: tuple[str, ...] = ()
    scores: tuple[Scores, ...] = ()

    @cached_property
    def plan(self) -> Plan:
        """The plan of what the model holds after the calibration, with the factor of each weight in it.

        What a plan drew it draws anywhere, times its factor, without data. What holds values of its own it keeps;
        their law is read off them when this is first asked for, so ask before the model is trained.
        """
        return self.make_plan()

    @property
    def changed(self) -> tuple[str, ...]:
        """The weights that were multiplied, and biases that were set (or would be, of a dry run), each once."""
        changed = (r.parameter for r in self.rows if r.factor != 1.0 or r.status == "centred")
        return tuple(dict.fromkeys(changed))

    @property
    def coverage(self) -> float:
        """Share of the rows whose output can be brought to its target, or needs to be at none; 1 without rows."""
        return sum(is_reached(r.status) for r in self.rows) / len(self.rows) if self.rows else 1.0

    @property
    def ok(self) -> bool:
        """Whether nothing was outside the tolerance: nothing was corrected, and nothing off its target stays."""
        return not any(self._is_outside(r) for r in self.rows)

    def _is_outside(self, row: Row) -> bool:
        if row.status in _CHANGED or row.status == "constant":
            return True
        return row.status not in _NEEDS_NOTHING and row.z is not None and abs(row.z) > self.most_z

    def __repr__(self) -> str:
        return f"<Calibration of {self.model}: {_counts(self)}>"

    def _repr_html_(self) -> str:
        lines = _lines(self.rows)
        cells = [(*_cells(line, {line.reason: 0}, has_parts=True)[:-1], line.reason) for line in lines]
        return html_table(repr(self)[1:-1], ("weight", *(column.title for column in _COLUMNS)), cells)

    def show(self) -> None:
        """Print the table, the reasons and the counts."""
        standard_console().print(self)

    def __str__(self) -> str:
        return plain_text(self, width=prose_width()).rstrip("\n")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the plan."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "ok": self.ok,
            "written": self.written,
            "coverage": self.coverage,
            "forwards": self.forwards,
            "tolerance": self.tolerance,
            "most_z": self.most_z,
            "changed": list(self.changed),
            "warnings": list(self.warnings),
            "rows": [jsonable(r) for r in self.rows],
            "scores": [jsonable(s) for s in self.scores],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON; a file that exists is replaced only when the new one is complete.

        Raises:
            OutputError: the file cannot be written; an older file of that name is unchanged.
        """
        write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Header, table, reasons, counts."""
        width = min(options.max_width, WIDTH)
        write: _Write = to_ascii if options.ascii_only else str
        shown, left_out = _worth_showing(self.rows)
        lines = _lines(shown)
        reasons = {r: n for n, r in enumerate(dict.fromkeys(line.reason for line in lines if line.reason), start=1)}
        has_parts = any(r.part for r in shown)
        cells = [_cells(line, reasons, has_parts) for line in lines]
        parts = Group(
            _header(self, write),
            Text(),
            *([columns("weight", _COLUMNS[not has_parts :], cells, width=width, write=write), Text()] if cells else ()),
            *([Text(write(left_out), style="dim"), Text()] if left_out else ()),
            *_reasons(reasons, write),
            *_attention(self.scores, write),
            *(Padding(Text(write(f"warning: {one_line(w)}"), style="yellow"), (0, 0, 0, 1)) for w in self.warnings),
            Text(write(_counts(self))),
        )
        yield from console.render(parts, options.update(width=width, highlight=False))


# ---------------------------------------------------------------------- drawing
_Write = Callable[[str], str]
_COLUMNS = (
    Column(title="part"),  # only where a weight has parts
    Column(title="before", side="right"),
    Column(title="target", side="right", rank=1),
    Column(title="z", side="right", rank=2),
    Column(title="factor", side="right"),
    Column(title="after", side="right", rank=3),
    Column(title="status", least=9),
    Column(title="why", side="right"),
)


@dataclass(frozen=True, slots=True)
class _Line:
    """Rows that say the same, as one line."""

    name: str
    row: Row

    @property
    def reason(self) -> str:
        return self.row.reason


def _lines(rows: Sequence[Row]) -> list[_Line]:
    """One line for rows that differ in their names alone."""
    same: dict[tuple[object, ...], list[Row]] = {}
    for r in rows:
        shown = tuple(figures(v) for v in (r.before, r.target, r.factor, r.after, r.z))
        same.setdefault((r.part, r.status, r.reason, *shown), []).append(r)
    found = []
    for members in same.values():
        names = list(dict.fromkeys(m.parameter for m in members))
        found += [_Line(group.pattern, members[0]) for group in group_paths(names)]
    return found


def _worth_showing(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """The rows to print: of a large model those that are off or cannot be reached; and what is left out, in words."""
    quiet = [r for r in rows if r.status in _QUIET]
    if len(rows) <= _MOST_ROWS or not quiet:
        return list(rows), ""
    by_status = Counter(r.status for r in quiet)
    said = ", ".join(f"{n} {status}" for status, n in by_status.items())
    return [r for r in rows if r.status not in _QUIET], f"not shown: {said}; all are in .rows, and in the file of .save"


_MOST_ROWS = 24
_QUIET: frozenset[Status] = frozenset({"in tolerance", "norm behind", "not asked"})


def _cells(line: _Line, reasons: dict[str, int], has_parts: bool) -> tuple[str, ...]:
    r = line.row
    factor = MISSING if r.factor == 1.0 else figures(r.factor)
    numbers = (figures(r.before), figures(r.target), standard_errors(r.z), factor, figures(r.after))
    part = (r.part,) if has_parts else ()
    return (line.name, *part, *numbers, r.status, str(reasons[r.reason]) if r.reason else "")


def _header(found: Calibration, write: _Write) -> RenderableType:
    head = Text.assemble(("calibration of ", "bold"))
    head.append(write(shorten(clean(found.model), 32)), style="bold cyan")
    head.append(f"   passes {found.forwards}   tolerance {_tolerance(found)}", style="dim")
    return head


def _tolerance(found: Calibration) -> str:
    each = "" if found.most_z == found.tolerance else f", {big(found.most_z, 2)} a use"
    return f"{big(found.tolerance)} se{each}"


def _reasons(reasons: dict[str, int], write: _Write) -> list[RenderableType]:
    if not reasons:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim", width=4)
    grid.add_column()
    for reason, number in reasons.items():
        grid.add_row(Text(str(number)), Text(write(one_line(reason))))
    return [grid, Text()]


def _attention(scores: Sequence[Scores], write: _Write) -> list[RenderableType]:
    """The scores of all attentions in one line."""
    if not scores:
        return []
    count = counted(len(scores), "softmax", "softmaxes")
    spread, entropy = (_span([getattr(s, n) for s in scores]) for n in ("spread", "entropy"))
    text = f"attention: {count}, left alone; std of scores {spread}, entropy over ln(keys) {entropy}"
    return [Text(write(text), style="dim"), Text()]


def _span(numbers: Sequence[float]) -> str:
    low, high = (big(n, 2) for n in (min(numbers), max(numbers)))
    return low if low == high else f"{low} to {high}"


def _counts(found: Calibration) -> str:
    each = ", ".join(f"{n} {status}" for status, n in Counter(r.status for r in found.rows).items())
    done = "" if found.written or not found.changed else "; nothing was written (dry run)"
    uses = counted(len(found.rows), "use")
    return f"{uses}: {each or 'none'}; {share(found.coverage)} of them can be reached{done}"
