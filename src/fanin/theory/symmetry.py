"""How many different units a layer can have.

Two units with the same incoming weights compute the same and, if their outgoing weights agree too, learn the same
for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.errors import TheoryError

__all__ = ["distinct_units", "identical_pairs", "most_distinct_units"]


def most_distinct_units(*, fan_in: int, fan_out: int, values: int) -> int:
    """Most units that can differ when weights take `values` different values: min(fan_out, values^fan_in).

    Example:
        >>> most_distinct_units(fan_in=784, fan_out=100, values=1)  # constant weights: the layer is one unit
        1
        >>> most_distinct_units(fan_in=3, fan_out=100, values=2)
        8
    """
    _check(fan_in, fan_out, values)
    if values == 1 or fan_in * math.log(values) < math.log(fan_out):
        rows: int = values**fan_in
        return min(fan_out, rows)
    return fan_out


def distinct_units(*, fan_in: int, fan_out: int, values: int) -> float:
    """Expected number of different units when each weight is drawn uniformly from `values` values.

    M (1 - (1 - 1/M)^fan_out) with M = values^fan_in rows to draw from.

    Example:
        >>> round(distinct_units(fan_in=3, fan_out=8, values=2), 3)
        5.251
        >>> distinct_units(fan_in=784, fan_out=100, values=2)
        100.0
    """
    _check(fan_in, fan_out, values)
    log_rows = fan_in * math.log(values)
    if log_rows > 60.0:  # fewer than 1e-20 expected coincidences
        return float(fan_out)
    rows = math.exp(log_rows)
    return -rows * math.expm1(fan_out * math.log1p(-1.0 / rows)) if rows > 1.0 else 1.0


def identical_pairs(*, fan_in: int, fan_out: int, probabilities: Sequence[float]) -> float:
    """Expected number of pairs of equal units, C(fan_out, 2) (sum p^2)^fan_in, p the probabilities of a value.

    For a sparse law, probabilities = [share of zeros] with the nonzero part continuous: only all-zero rows coincide.

    Example:
        >>> identical_pairs(fan_in=2, fan_out=3, probabilities=[0.5, 0.5])
        0.75
    """
    _check(fan_in, fan_out, max(len(probabilities), 1))
    if any(p < 0.0 for p in probabilities) or sum(probabilities) > 1.0 + 1e-12:
        raise TheoryError(f"probabilities must be >= 0 and sum to at most 1, got {list(probabilities)!r}")
    return math.comb(fan_out, 2) * sum(p * p for p in probabilities) ** fan_in


def _check(fan_in: int, fan_out: int, values: int) -> None:
    if fan_in < 1 or fan_out < 1 or values < 1:
        raise TheoryError(f"fan_in, fan_out and values are counts >= 1, got {fan_in!r}, {fan_out!r}, {values!r}")
