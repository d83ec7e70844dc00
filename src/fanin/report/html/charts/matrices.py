"""Small square matrices of cosines, and a grid of heads by layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fanin.report.html.charts.cells import NUM_SHADES, cells, shade
from fanin.report.html.svg import drawing, el, text
from fanin.text.names import shorten
from fanin.text.numbers import big

__all__ = ["Matrix", "cosine_matrices", "signed_scale"]

_SIDE, _GAP = 150.0, 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Cosines between samples: `label` names the layer, `note` gives their mean."""

    label: str
    note: str
    values: tuple[tuple[float, ...], ...]


def cosine_matrices(matrices: Sequence[Matrix], *, id_: str, title: str, description: str) -> Markup:
    """Matrices side by side, minus one to one in two colours."""
    drawn = [_matrix(m, i * (_SIDE + _GAP)) for i, m in enumerate(matrices)]
    width = max(len(matrices) * (_SIDE + _GAP) - _GAP, _SIDE)
    return drawing(
        el("g", *drawn, aria_hidden="true"),
        id_=id_,
        width=width,
        height=_SIDE + 40,
        title=title,
        description=description,
        class_="plot matrices",
    )


def signed_scale() -> Markup:
    """The key of the two colours."""
    steps = [*range(-NUM_SHADES, 0), *range(1, NUM_SHADES + 1)]
    negative = [[-s] if s < 0 else [0] for s in steps]
    positive = [[s] if s > 0 else [0] for s in steps]
    bar = el(
        "svg",
        cells(negative, 1, "negative"),
        cells(positive, 1, "positive"),
        viewBox=f"0 0 {len(steps)} 1",
        preserveAspectRatio="none",
        class_="scale",
        aria_hidden="true",
    )
    return el("p", "−1 ", bar, " 1", class_="key-line")


def _matrix(matrix: Matrix, x: float) -> Markup:
    size = max(len(matrix.values), 1)
    columns = [[row[c] for row in reversed(matrix.values)] for c in range(size)] if matrix.values else []
    positive = [[shade(v) for v in column] for column in columns]
    negative = [[shade(-v) for v in column] for column in columns]
    grid = el(
        "svg",
        cells(negative, size, "negative"),
        cells(positive, size, "positive"),
        x=x,
        y=18,
        width=_SIDE,
        height=_SIDE,
        viewBox=f"0 0 {size} {size}",
        preserveAspectRatio="none",
    )
    ground = el("rect", x=x, y=18, width=_SIDE, height=_SIDE, class_="ground")
    label = text(shorten(matrix.label, 24), x, 12, class_="tick")
    return ground + grid + label + text(matrix.note, x, _SIDE + 33, class_="tick faint")


def mean_note(one_minus_mean: float) -> str:
    """The mean cosine, or its distance from 1 where that shows more.

    Example:
        >>> mean_note(0.4), mean_note(3e-5)
        ('mean cosine 0.6', 'mean cosine 1 − 3e-5')
    """
    if math.isfinite(one_minus_mean) and 0 < one_minus_mean < 1e-2:
        return f"mean cosine 1 − {big(one_minus_mean)}"
    return f"mean cosine {big(1 - one_minus_mean)}"
