"""Grids of shades: one path a shade, runs of equal cells drawn as one stroke, so that 500 layers stay small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fanin.report.html.axes import DepthAxis, nice_step
from fanin.report.html.svg import drawing, el, text

__all__ = ["NUM_SHADES", "Rows", "cells", "column_map", "exponent_rows", "shade", "shade_key"]

NUM_SHADES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The vertical axis of a map: labels at row edges, counted from the bottom; `title` says what the axis is."""

    num: int
    labels: tuple[tuple[float, str], ...]
    title: str = ""


def shade(value: float) -> int:
    """0 (nothing) to `NUM_SHADES`: anything above zero is seen.

    Example:
        >>> [shade(v) for v in (0.0, 0.001, 0.5, 1.0, float("nan"))]
        [0, 1, 4, 8, 0]
    """
    if not value > 0:
        return 0
    return max(math.ceil(min(value, 1.0) * NUM_SHADES), 1)


def cells(columns: Sequence[Sequence[int]], num_rows: int, class_: str) -> Markup:
    """Shades as strokes of width 1 in a grid of 1 x 1 cells, row 0 at the bottom.

    Args:
        columns: for each column its rows from the bottom; a shade of 0 draws nothing, missing rows neither.
        num_rows: rows of the grid.
        class_: colour family.
    """
    runs: dict[int, list[str]] = {}
    for row in range(num_rows):
        line = [column[row] if row < len(column) else 0 for column in columns]
        for start, length, level in _runs(line):
            runs.setdefault(level, []).append(f"M{start} {num_rows - 1 - row}h{length}")
    paths = [el("path", d="".join(runs[level]), class_=f"s{level}") for level in sorted(runs)]
    return el("g", *paths, class_=f"cells {class_}", transform="translate(0 .5)")


def shade_key(class_: str, low: str, high: str, *, apart: tuple[str, str] | None = None) -> Markup:
    """The key of a family of shades: a bar from pale to full between two words.

    Args:
        class_: colour family.
        low: what the palest shade is.
        high: what the fullest shade is.
        apart: (colour family, what it is) of one more colour beside the bar.

    Example:
        >>> "never" in shade_key("units", "rarely", "always", apart=("dead", "never"))
        True
    """
    bar = _swatch([[shade] for shade in range(1, NUM_SHADES + 1)], class_, "scale")
    more = () if apart is None else (_swatch([[NUM_SHADES]], apart[0], "scale one"), f" {apart[1]}")
    return el("p", f"{low} ", bar, f" {high}", *more, class_="key-line")


def _swatch(columns: Sequence[Sequence[int]], family: str, class_: str) -> Markup:
    return el(
        "svg",
        cells(columns, 1, family),
        viewBox=f"0 0 {len(columns)} 1",
        preserveAspectRatio="none",
        class_=class_,
        aria_hidden="true",
    )


def column_map(
    layers: Mapping[str, Sequence[Sequence[int]]],
    axis: DepthAxis,
    rows: Rows,
    *,
    id_: str,
    title: str,
    description: str,
    height: float = 200.0,
) -> Markup:
    """A map with the layers as columns: shades in one or more colour families, drawn one over the other."""
    top, bottom = 6.0, 6.0 + height
    legs, end = axis.legs(bottom + 4)
    grid = el(
        "svg",
        *(cells(columns, rows.num, class_) for class_, columns in layers.items()),
        x=axis.left,
        y=top,
        width=axis.right - axis.left,
        height=height,
        viewBox=f"0 0 {max(len(axis.names), 1)} {max(rows.num, 1)}",
        preserveAspectRatio="none",
    )
    return drawing(
        el("rect", x=axis.left, y=top, width=axis.right - axis.left, height=height, class_="ground"),
        axis.highlights(id_, top, bottom),
        el("g", grid, _row_labels(rows, axis, top, height), aria_hidden="true"),
        legs,
        id_=id_,
        width=axis.right + 16,
        height=end,
        title=title,
        description=description,
        class_="plot map",
        **axis.data(top, bottom),
    )


def _row_labels(rows: Rows, axis: DepthAxis, top: float, height: float) -> Markup:
    def y(edge: float) -> float:
        return top + height * (1 - edge / max(rows.num, 1))

    ticks = [text(label, axis.left - 8, y(edge) + 4, anchor="end") for edge, label in rows.labels]
    grid = el("path", d="".join(f"M{axis.left - 4:.0f} {y(edge):.1f}h4" for edge, _ in rows.labels), class_="grid")
    middle = top + height / 2
    name = text(rows.title, 12, middle, class_="axis-title", anchor="middle", transform=f"rotate(-90 12 {middle:.0f})")
    return grid + Markup("").join(ticks) + name


def _runs(line: Iterable[int]) -> list[tuple[int, int, int]]:
    """(start, length, shade) of the runs of equal shade above 0."""
    found: list[tuple[int, int, int]] = []
    for place, level in enumerate(line):
        if not level:
            continue
        if found and found[-1][2] == level and found[-1][0] + found[-1][1] == place:
            start, length, _ = found[-1]
            found[-1] = (start, length + 1, level)
        else:
            found.append((place, 1, level))
    return found


def exponent_rows(low: int, high: int) -> Rows:
    """Rows for binary exponents low .. high - 1, labelled with powers of two."""
    step = nice_step(high - low, 7)
    labels = tuple((float(e - low), _power_of_two(e)) for e in range(low, high + 1) if e % step == 0)
    return Rows(num=high - low, labels=labels, title="magnitude")


def _power_of_two(exponent: int) -> str:
    return "1" if exponent == 0 else "2" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
