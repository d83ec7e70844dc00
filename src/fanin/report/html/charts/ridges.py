"""Histograms of chosen layers, one ridge above the other (after Glorot and Bengio 2010, figures 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fanin.report.html.svg import coordinate, drawing, el, text
from fanin.text.names import shorten
from fanin.text.numbers import big, figures

__all__ = ["Ridge", "ridges"]

_LEFT, _RIGHT, _TOP = 172.0, 12.0, 10.0
_STEP, _RISE = 30.0, 44.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """One histogram.

    Attributes:
        label: the layer.
        note: what the unit of the axis is for this layer ("rms 0.98").
        low: left edge of the first bin.
        width: of a bin.
        heights: one a bin, any unit: each ridge is drawn to its own highest bin.
    """

    label: str
    note: str
    low: float
    width: float
    heights: tuple[float, ...]


def ridges(
    rows: Sequence[Ridge],
    *,
    series: str,
    id_: str,
    title: str,
    description: str,
    axis_title: str,
    half_range: float = 4.0,
    width: float = 470.0,
) -> Markup:
    """Ridges from the first layer (top) to the last."""
    base = _TOP + _RISE
    bottom = base + _STEP * max(len(rows) - 1, 0)

    def x(value: float) -> float:
        clipped = min(max(value, -half_range), half_range)
        return _LEFT + (clipped + half_range) / (2 * half_range) * (width - _LEFT - _RIGHT)

    drawn = [_ridge(row, base + i * _STEP, x) for i, row in enumerate(rows)]
    ticks = [v for v in range(-int(half_range), int(half_range) + 1) if v % 2 == 0]
    grid = el("path", d="".join(f"M{coordinate(x(v))} {_TOP}V{coordinate(bottom)}" for v in ticks), class_="grid")
    return drawing(
        el(
            "g",
            grid,
            *drawn,
            *(text(big(float(v)).replace("-", "−"), x(v), bottom + 16, anchor="middle") for v in ticks),
            text(axis_title, x(0), bottom + 33, class_="axis-title", anchor="middle"),
            class_=series,
            aria_hidden="true",
        ),
        id_=id_,
        width=width,
        height=bottom + 40,
        title=title,
        description=description,
        class_="plot ridges",
    )


def _ridge(row: Ridge, base: float, place: Callable[[float], float]) -> Markup:
    top = max(row.heights, default=0.0)
    label = text(shorten(row.label, 24), _LEFT - 10, base - 10, class_="tick", anchor="end")
    note = text(row.note, _LEFT - 10, base + 3, class_="tick faint", anchor="end")
    if top <= 0:
        return label + note
    points = [f"M{coordinate(place(row.low))} {coordinate(base)}"]
    for i, height in enumerate(row.heights):
        y = coordinate(base - _RISE * height / top * 0.92)
        points.append(f"L{coordinate(place(row.low + (i + 0.5) * row.width))} {y}")
    end = coordinate(place(row.low + len(row.heights) * row.width))
    return el("path", d="".join(points) + f"L{end} {coordinate(base)}", class_="ridge") + label + note


def rms_note(rms: float) -> str:
    """The unit of a ridge's axis.

    Example:
        >>> rms_note(0.981)
        'rms 0.981'
    """
    return f"rms {figures(rms)}"
