"""Table, figure and page of a coordinate check."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING

from fanin.report import plotting
from fanin.text.columns import Column, ColumnTable
from fanin.text.console import standard_console
from fanin.text.html import html_table
from fanin.text.names import shorten
from fanin.text.numbers import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fanin.scaling.coordinate_report import CoordinateCheck, MapRow

__all__ = ["coordinate_figure", "coordinate_html", "coordinate_page", "coordinate_table", "print_check"]

_NAMED = 8  # lines of a figure with a colour and a name of their own
_PANELS = 4


def _slope(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "-"


def coordinate_table(check: CoordinateCheck) -> ColumnTable:
    """A row for each use of each map."""
    first, last = check.widths[0], check.widths[-1]
    others = (
        Column(title="slope", side="right"),
        Column(title="±", side="right", rank=1),
        Column(title=f"change at {first}", side="right", rank=2),
        Column(title=f"change at {last}", side="right", rank=2),
        Column(title="verdict"),
    )
    return ColumnTable("map", others, tuple(_cells(row, first, last) for row in check.rows))


def _cells(row: MapRow, first: int, last: int) -> tuple[str, ...]:
    error = f"{row.last.error:.2f}" if math.isfinite(row.last.error) else "-"
    changes = (figures(row.changes[width][-1]) for width in (first, last))
    return (row.name, _slope(row.last.value), error, *changes, row.last.verdict)


def coordinate_html(check: CoordinateCheck) -> str:
    """The table as HTML: what a notebook shows."""
    table = coordinate_table(check)
    return html_table(f"{_title(check)}: {check.summary}", table.heads, table.rows)


def print_check(check: CoordinateCheck) -> None:
    """The table, the notes and the verdict, on the terminal."""
    from rich.text import Text

    console = standard_console()
    console.print(Text(_title(check), style="bold"))
    console.print(check.table())
    for note in check.notes:
        console.print(Text(f"note: {note}"))
    console.print(Text(f"{'pass' if check.ok else 'FAIL'}: {check.summary}", style="green" if check.ok else "bold red"))


def _title(check: CoordinateCheck) -> str:
    steps = "1 step" if check.steps == 1 else f"{check.steps} steps"
    return f"change of every map's output after {steps}, widths {', '.join(map(str, check.widths))}"


# ---------------------------------------------------------------------- figure
@plotting.drawn
def coordinate_figure(check: CoordinateCheck) -> Figure:
    """log2 change over log2 width; at most four steps, the last one among them."""
    shown = sorted({round(i * (check.steps - 1) / max(_PANELS - 1, 1)) for i in range(_PANELS)})
    wide = 2.5 * len(shown) + 2.6
    fig, axes = plotting.figure(1, len(shown), size=(max(wide, 5.5), 3.9), sharey=True)
    named = _named(check)
    for ax, step in zip(axes[0], shown, strict=True):
        _panel(ax, check, step, named)
    handles, labels = axes[0][-1].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside right upper", title=f"slope after step {check.steps}")
    axes[0][0].set_ylabel("rms change of the output")
    return fig


def _named(check: CoordinateCheck) -> list[MapRow]:
    """The maps with a colour: those that fail first, then as many as there is room for, the output among them."""
    order = sorted(check.rows, key=lambda row: (row.last.ok, row is not check.rows[-1]))
    chosen = order[:_NAMED]
    return [row for row in check.rows if row in chosen]


def _panel(ax: Axes, check: CoordinateCheck, step: int, named: list[MapRow]) -> None:
    for row in check.rows:
        values = [row.changes[w][step] or math.nan for w in check.widths]
        if row in named:
            label = f"{shorten(row.name, 26)} {_slope(row.last.value)}"
            plotting.series(ax, named.index(row), check.widths, values, label)
        else:
            ax.plot(check.widths, values, color="#bbbbbb", linewidth=0.8)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xticks(list(check.widths), [str(w) for w in check.widths], rotation=45 if len(check.widths) > 3 else 0)
    ax.minorticks_off()
    ax.set(xlabel="width", title=f"after step {step + 1}")


# ---------------------------------------------------------------------- page


def coordinate_page(check: CoordinateCheck) -> str:
    """One HTML page with everything inside."""
    from fanin.report.html.page import fill, stand_alone

    picture = io.BytesIO()
    check.figure().savefig(picture, format="png", dpi=150, metadata={"Software": None})
    body = fill(
        "coordinates.html.j2",
        title=_title(check),
        check=check,
        picture=base64.b64encode(picture.getvalue()).decode(),
        slope=_slope,
        finite=math.isfinite,
    )
    nav = (("slopes", "Slopes"), ("figure", "Figure"), ("spectral", "Spectral norms"))
    return stand_alone(body, title=_title(check), nav=nav, data=check.to_dict())
