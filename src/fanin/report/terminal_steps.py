"""The first steps of training on a terminal: a line of blocks a quantity, and a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.text import Text

from fanin.report.steps import CUT, HEADS, Series, rows_of, series_of, span
from fanin.rules.result import CheckResult
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.names import one_line
from fanin.text.numbers import figures, share
from fanin.text.sparkline import sparkline

__all__ = ["steps_part"]

_ROWS = 8
_BLOCKS = 24
_RANKS = {"rate": 3, "dead": 2, "signal": 1}


def steps_part(
    result: CheckResult, width: int, widest: int, plain: bool, write: Callable[[str], str]
) -> Iterator[RenderableType]:
    """The measured steps; nothing where none was asked for."""
    watched = result.measurements.watched
    if watched is None:
        return
    yield Text.assemble(("steps  ", "bold"), write(span(watched)))
    for series in series_of(watched):
        yield _line(series, width, plain, write)
    if watched.steps:
        yield Text("  (medians over weights and layers; dead: the worst layer)", style="dim")
        yield Text()
        others = [Column(title=head, side="right", rank=_RANKS.get(head, 0)) for head in HEADS[1:]]
        yield columns(HEADS[0], others, rows_of(watched, _ROWS), width=widest, write=write)
    if CUT in result.measurements.missing:
        yield Text(write(f"{CUT}: {one_line(result.measurements.missing[CUT])}"), style="yellow")
    yield Text()


def _line(series: Series, width: int, plain: bool, write: Callable[[str], str]) -> Text:
    """Name, blocks, first and last value."""
    name = series.quantity.name
    known = [v for v in series.shown if v is not None]
    line = Text.assemble((f"  {name:<9}", "dim"))
    line.append(sparkline(series.shown, max(min(width - 40, _BLOCKS), 4), plain=plain), style="cyan")
    form = share if name == "dead" else figures
    ends = write(f"  {form(known[0])} → {form(known[-1])}") if known else ""
    return line.append(to_ascii(ends) if plain else ends)
