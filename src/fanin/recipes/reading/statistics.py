"""Exact statistics of all numbers of a tensor, in pieces, so that a large one is never copied whole into float64."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.layout import Layout

__all__ = ["Summary", "spread_sample", "summary", "twin_rows", "unit_rows"]

Array = npt.NDArray[Any]
_PIECE = 1 << 20  # elements in float64 at a time
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What all numbers of a tensor say together.

    Attributes:
        count: how many.
        mean: of all.
        var: about the mean (of a complex tensor: of the absolute difference).
        top: largest absolute value.
        low: smallest number (real part of a complex one).
        high: largest number.
        finite: whether none is NaN or infinite.
    """

    count: int
    mean: float
    var: float
    top: float
    low: float
    high: float
    finite: bool

    @property
    def std(self) -> float:
        """Standard deviation about the mean."""
        return math.sqrt(self.var)

    def var_about(self, centre: float) -> float:
        """Mean square about another centre."""
        return self.var + (self.mean - centre) ** 2


def summary(values: Array) -> Summary:
    """The summary of an array of floats, computed in float64 whatever its dtype.

    Example:
        >>> s = summary(np.array([1.0, 2.0, 3.0], np.float32))
        >>> s.mean, round(s.var, 6), s.top
        (2.0, 0.666667, 3.0)
    """
    n = values.size
    if not n:
        return Summary(count=0, mean=0.0, var=0.0, top=0.0, low=0.0, high=0.0, finite=True)
    if not all(np.isfinite(piece).all() for piece in _pieces(values)):
        nan = math.nan
        return Summary(count=n, mean=nan, var=nan, top=nan, low=nan, high=nan, finite=False)
    total = sum(complex(piece.sum()) for piece in _pieces(values))
    centre = total / n
    mean = centre if np.iscomplexobj(values) else centre.real
    square = sum(float((np.abs(piece - mean) ** 2).sum()) for piece in _pieces(values))
    return Summary(
        count=n,
        mean=centre.real,
        var=square / n,
        top=max(float(np.abs(piece).max()) for piece in _pieces(values)),
        low=min(float(piece.real.min()) for piece in _pieces(values)),
        high=max(float(piece.real.max()) for piece in _pieces(values)),
        finite=True,
    )


def _pieces(values: Array) -> Iterator[Array]:
    wide = np.complex128 if np.iscomplexobj(values) else np.float64
    flat = values.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE].astype(wide)


def spread_sample(values: Array, most: int) -> Array:
    """At most `most` numbers from all over an array, in float64: one from each equal stretch, at a changing place.

    A fixed stride would read a single tap of a convolution's kernels, or a single column of a matrix.

    Example:
        >>> len(set((spread_sample(np.arange(9000), 1000) % 9).tolist()))
        9
    """
    flat = values.reshape(-1)
    if flat.size <= most:
        return flat.astype(np.float64)
    i = np.arange(most)
    places = ((i + (i * _GOLDEN) % 1.0) * (flat.size / most)).astype(np.int64)
    return flat[np.minimum(places, flat.size - 1)].astype(np.float64)


# ---------------------------------------------------------------------- rows
def unit_rows(values: Array, layout: Layout | None) -> Array | None:
    """A weight as a matrix whose rows are its output units (of a lookup table: its rows); None where it has none.

    Example:
        >>> unit_rows(np.zeros((64, 32, 3, 3)), Layout.conv(2)).shape
        (64, 288)
    """
    if layout is not None and layout.view:
        values = values.reshape(layout.view)
    if values.ndim < 2 or not values.size:
        return None
    layout = Layout.default(values.ndim) if layout is None else layout
    axes = tuple(a for a in range(values.ndim) if a not in (*layout.in_axes, *layout.tap_axes))
    if layout.lookup or not axes or len(axes) == values.ndim:
        axes = (0,)
    if layout.groups > 1 and layout.groups_on == "in":
        return None  # an input axis that spans all groups is part of which unit it is
    rest = tuple(a for a in range(values.ndim) if a not in axes)
    rows: Array = values.transpose(*axes, *rest).reshape(math.prod(values.shape[a] for a in axes), -1)
    return rows


def twin_rows(rows: Array, skip: Sequence[int] = ()) -> tuple[int, int] | int | None:
    """The first two rows with the same numbers, or the first row of zeros; None where every row is its own.

    Args:
        rows: a matrix.
        skip: rows that may be anything.

    Example:
        >>> twin_rows(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])), twin_rows(np.array([[0.0, 0.0], [1.0, 2.0]]))
        ((0, 2), 0)
    """
    zero = np.flatnonzero(~rows.any(axis=1))
    zero = zero[~np.isin(zero, skip)]
    if zero.size:
        return int(zero[0])
    skipped, starts = set(skip), dict[bytes, list[int]]()
    for index in range(len(rows)):
        if index in skipped:
            continue
        alike = starts.setdefault(rows[index, :_START].tobytes(), [])
        for first in alike:
            if np.array_equal(rows[first], rows[index]):
                return first, index
        alike.append(index)
    return None


_START = 32  # numbers of a row that are compared first; two rows that share them are compared whole
