"""A table as HTML for a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from fanin.text.names import clean

__all__ = ["html_table"]

_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A title above a table; every cell becomes harmless text.

    Args:
        title: one line.
        heads: of the columns.
        rows: one cell for each head.

    Example:
        >>> html_table("a <b>", ["name"], [["x"]])[:40]
        '<div><b>a &lt;b&gt;</b><table><thead><tr'
    """
    head = "".join(f'<th style="{_CELL}">{_safe(cell)}</th>' for cell in heads)
    body = "".join(
        f"<tr>{''.join(f'<td style={_quoted(_CELL)}>{_safe(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<div><b>{_safe(title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _safe(text: object) -> str:
    return html.escape(clean(text))


def _quoted(text: str) -> str:
    return f'"{text}"'
