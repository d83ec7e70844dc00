"""Tables whose first column takes the room that the others leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from fanin.text.names import clean, shorten

__all__ = ["Column", "columns"]

_GAP = 2
_LEAST = 16  # columns that the first one has at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        limit: characters at most; longer cells lose their middle. The first column's is what the others leave.
        side: on which side its cells begin.
    """

    title: str
    limit: int
    side: Literal["left", "right"] = "left"


def columns(
    first: str,
    others: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    write: Callable[[str], str] = str,
) -> Table:
    r"""A table at most `width` columns wide; every cell becomes one line of harmless text.

    Args:
        first: heading of the first column.
        others: the other columns.
        rows: one cell for each column, the first one included.
        width: of the whole table.
        write: applied to each cell last (`to_ascii` where a terminal has ASCII alone).

    Example:
        >>> from fanin.text.console import plain_text
        >>> drawn = columns("name", [Column(title="size", limit=8, side="right")], [["fc1\x1b[31m", "12"]], width=40)
        >>> print(plain_text(drawn))
        name          size
        ──────────────────
        fc1\x1b[31m     12
        <BLANKLINE>
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(Text(first), no_wrap=True)
    for column in others:
        table.add_column(Text(column.title), justify=column.side, no_wrap=True)
    cells = [
        [write(shorten(clean(text), column.limit)) for text, column in zip(row[1:], others, strict=True)]
        for row in rows
    ]
    titles = [column.title for column in others]
    used = sum(max(len(row[i]) for row in [titles, *cells]) + _GAP for i in range(len(others)))
    room = max(width - used - _GAP, _LEAST)
    for row, rest in zip(rows, cells, strict=True):
        table.add_row(Text(write(shorten(clean(row[0]), room))), *map(Text, rest))
    return table
