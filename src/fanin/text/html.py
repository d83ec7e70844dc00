"""A table as HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from fanin.text.names import clean

__all__ = ["html_table"]

_BOX = "max-width:100%;overflow-x:auto"
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A title above a table; every cell becomes harmless text, and a column without a word in any row is left out.

    Where the window is narrow the table scrolls inside of its own box.

    Args:
        title: one line.
        heads: of the columns.
        rows: one cell for each head.

    Example:
        >>> html_table("a <b>", ["name"], [["x"]])[44:74]
        '<b>a &lt;b&gt;</b><table><thea'
    """
    cells = [[str(cell) for cell in row] for row in rows]
    used = [i for i in range(len(heads)) if not cells or any(row[i] for row in cells)]
    head = "".join(f'<th style="{_CELL}">{_safe(heads[i])}</th>' for i in used)
    body = "".join(
        f"<tr>{''.join(f'<td style={_quoted(_CELL)}>{_safe(row[i])}</td>' for i in used)}</tr>" for row in cells
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div style="{_BOX}"><b>{_safe(title)}</b>{table}</div>'


def _safe(text: object) -> str:
    return html.escape(clean(text))


def _quoted(text: str) -> str:
    return f'"{text}"'
