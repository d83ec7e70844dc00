"""Tables that fit a width without cutting anything: names and prose fold, and whole columns are left out, by rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fanin.text.ascii import to_ascii
from fanin.text.folding import Line, fold_name, fold_words, shared_prefix, under_headings
from fanin.text.names import clean

__all__ = ["Column", "ColumnTable", "columns"]

_GAP = 2
_LEAST = 20  # columns that names are folded to before another column is left out
_READABLE = 32  # columns that names and prose get before any of them gets more
_Write = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table, other than the first.

    Attributes:
        title: its heading.
        side: on which side its cells begin.
        rank: 0 is shown always; where the width is short, the column with the highest rank is left out first.
        least: columns that its cells may be folded to, as prose; None where they stay on one line.
        style: of its cells, as rich writes it.
    """

    title: str
    side: Literal["left", "right"] = "left"
    rank: int = 0
    least: int | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class ColumnTable:
    """`columns` at the width of whatever prints it, in ASCII where it has no other characters.

    Attributes:
        first: heading of the names.
        others: the other columns.
        rows: one cell for each column.
        prose: the first column holds words and no names.
    """

    first: str
    others: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    prose: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table."""
        write: _Write = to_ascii if options.ascii_only else str
        yield columns(self.first, self.others, self.rows, width=options.max_width, write=write, prose=self.prose)

    @property
    def heads(self) -> tuple[str, ...]:
        """Headings of all columns."""
        return (self.first, *(column.title for column in self.others))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Which columns are shown, and how wide each may be; the first width is that of the names."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]


def columns(
    first: str,
    others: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    write: _Write = str,
    prose: bool = False,
) -> RenderableType:
    r"""A table at most `width` columns wide, in which no number and no name is ever cut.

    Where `width` is short, what the names share is written once, names and prose go on in the next line, and columns
    are left out in the order of their rank. A line below says which. A column without a word in any row is not drawn.

    Args:
        first: heading of the first column, the names.
        others: the other columns.
        rows: one cell for each column, the first one included.
        width: of the whole table.
        write: applied to each cell last (`to_ascii` where a terminal has ASCII alone).
        prose: the first column holds words and no names, and folds at blanks.

    Example:
        >>> from fanin.text.console import plain_text
        >>> size = Column(title="size", side="right")
        >>> print(plain_text(columns("name", [size], [["fc1\x1b[31m", "12"]], width=40)))
        name         size
        ─────────────────
        fc1\x1b[31m    12
        <BLANKLINE>
        >>> others = [size, Column(title="std", side="right", rank=1)]
        >>> rows = [["blocks.0.attention.query", "12", "0.02"], ["blocks.0.attention.key", "9", "0.02"]]
        >>> print(plain_text(columns("name", others, rows, width=16)))
        each name starts with
        blocks.0.
          attention.
        name   size
        ───────────
        query    12
        key       9
        not shown for want of width: std
        <BLANKLINE>
    """
    used = [i for i in range(len(others)) if not rows or any(row[i + 1] for row in rows)]
    others = [others[i] for i in used]
    cells = [[write(clean(row[i])) for i in (0, *(u + 1 for u in used))] for row in rows]
    lines = tuple(Line(row[0], place) for place, row in enumerate(cells))
    natural = _natural(others, cells)
    fit = _fit(others, natural, _widest(lines, first), width)
    above: list[RenderableType] = []
    if fit is None and not prose:
        prefix = shared_prefix([line.text for line in lines])
        lines = under_headings([line.text[len(prefix) :] for line in lines])
        if prefix:
            above = [Text("each name starts with", style="dim"), Text("\n".join(fold_name(prefix, width)))]
    fit = fit or _fit_folded(others, natural, _widest(lines, first), width)
    table = _drawn(first, others, cells, lines, fit, write, fold_words if prose else fold_name)
    hidden = [column.title for i, column in enumerate(others) if i not in fit.shown]
    note = f"not shown for want of width: {', '.join(dict.fromkeys(hidden))}"
    return Group(*above, table, *([Text(write(note), style="dim")] if hidden else []))


def _natural(others: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([cell_len(column.title), *(cell_len(row[place]) for row in cells)])
        for place, column in enumerate(others, start=1)
    ]


def _widest(lines: Sequence[Line], first: str) -> int:
    return max([cell_len(first), *(cell_len(line.text) for line in lines)])


def _fit(others: Sequence[Column], natural: Sequence[int], names: int, width: int) -> _Fit | None:
    """All columns beside names on one line each; None where these do not fit."""
    least, every = _least(others, natural), tuple(range(len(others)))
    room = width - names - _taken(least, every)
    return None if room < 0 else _shared_out(every, room, [(names, names), *zip(least, natural, strict=True)])


def _fit_folded(others: Sequence[Column], natural: Sequence[int], names: int, width: int) -> _Fit:
    """The columns that fit beside names of `_LEAST` columns; names get less where what must be shown needs it."""
    least, shown = _least(others, natural), tuple(range(len(others)))
    fewest = min(names, _LEAST)
    while fewest + _taken(least, shown) > width and any(others[i].rank for i in shown):
        last = max(shown, key=lambda i: (others[i].rank, i))
        shown = tuple(i for i in shown if i != last)
    fewest = max(min(fewest, width - _taken(least, shown)), 1)
    room = width - fewest - _taken(least, shown)
    return _shared_out(shown, room, [(fewest, names), *((least[i], natural[i]) for i in shown)])


def _least(others: Sequence[Column], natural: Sequence[int]) -> list[int]:
    return [size if c.least is None else min(size, c.least) for c, size in zip(others, natural, strict=True)]


def _taken(sizes: Sequence[int], shown: Sequence[int]) -> int:
    return sum(sizes[i] + _GAP for i in shown)


def _shared_out(shown: tuple[int, ...], room: int, ranges: Sequence[tuple[int, int]]) -> _Fit:
    """Widths from the lower ends of the ranges, raised in turn while there is room: first to what reads well."""
    widths = [low for low, _ in ranges]
    for most in (_READABLE, None):
        for place, (_, high) in enumerate(ranges):
            goal = high if most is None else min(high, most)
            more = max(min(goal - widths[place], room), 0)
            widths[place] += more
            room -= more
    return _Fit(shown, tuple(widths))


def _drawn(
    first: str,
    others: Sequence[Column],
    cells: Sequence[Sequence[str]],
    lines: Sequence[Line],
    fit: _Fit,
    write: _Write,
    fold: Callable[[str, int], list[str]],
) -> Table:
    # Two blanks between columns: one of padding, one that this box draws as its divider.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(Text(first), no_wrap=True)
    for i in fit.shown:
        table.add_column(Text(write(others[i].title)), justify=others[i].side, no_wrap=True)
    for line in lines:
        name = Text("\n".join(fold(line.text, fit.widths[0])), style="" if line.row is not None else "dim")
        values = [] if line.row is None else [_cell(others, cells[line.row], i, w) for i, w in _places(fit)]
        table.add_row(name, *values)
    return table


def _places(fit: _Fit) -> zip[tuple[int, int]]:
    return zip(fit.shown, fit.widths[1:], strict=True)


def _cell(others: Sequence[Column], row: Sequence[str], place: int, width: int) -> Text:
    text = row[place + 1]
    return Text(text if others[place].least is None else "\n".join(fold_words(text, width)), style=others[place].style)
