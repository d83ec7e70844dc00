"""A `Draw` made ready for one dtype: the numbers that an engine's inner loop needs, and nothing left to decide."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fanin.errors import DtypeError
from fanin.streams.dtypes import FillDtype, fill_dtype
from fanin.streams.keys import Key
from fanin.streams.spec import Draw
from fanin.streams.windows import NARROW, Window, probability, window

__all__ = ["IMAGINARY_PURPOSE", "Law", "parts", "prepare"]

IMAGINARY_PURPOSE = "imaginary"
_REACH32, _REACH64 = 6.337958, 9.16  # largest |z| of a 32-bit and of a 64-bit word


@dataclass(frozen=True, slots=True)
class Law:
    """What the real numbers of one tensor are drawn from.

    Attributes:
        kind: "uniform" or "normal" (a truncated normal is a normal whose words come from a window).
        double: 64-bit words and float64 arithmetic.
        window: words allowed; None for all.
        lower: clamp of the unit number (rounding may carry it past the window); -inf for none.
        upper: likewise.
        width: multiplies the unit number.
        shift: is then added.
        dtype: what the result is rounded to.
    """

    kind: Literal["uniform", "normal"]
    double: bool
    window: Window | None
    lower: float
    upper: float
    width: float
    shift: float
    dtype: FillDtype


def _reach(draw: Draw, double: bool) -> float:
    if draw.kind == "uniform":
        return 1.0
    z = _REACH64 if double else _REACH32
    return z if draw.kind == "normal" else max(abs(max(draw.lower, -z)), abs(min(draw.upper, z)))


def _edge(x: float, real: type[np.floating[Any]]) -> float:
    """`x` in the drawing precision; beyond 64 standard deviations no number can reach it."""
    return float(real(min(max(x, -64.0), 64.0)))


def prepare(draw: Draw, dtype: Any) -> Law:
    """The law of the elements of a tensor of the given dtype (of its real part, where it is complex).

    Raises:
        DtypeError: a dtype that cannot be drawn, or one too small for the numbers asked for.
        ArgumentError: a truncation window that holds too few words.

    Example:
        >>> wide, narrow = (Draw(kind="truncated_normal", lower=a, upper=b) for a, b in ((2.0, 4.0), (5.0, 6.0)))
        >>> prepare(wide, "float32").double, prepare(narrow, "float32").double
        (False, True)
    """
    target = fill_dtype(dtype)
    truncated = draw.kind == "truncated_normal"
    double = target.double or (truncated and probability(draw.lower, draw.upper) < NARROW)
    largest = _reach(draw, double) * draw.width + abs(draw.shift)
    if largest > target.largest:
        raise DtypeError(
            f"{draw} gives numbers up to {largest:.3g}, and the largest {target.name} is {target.largest:.3g}; take a "
            "smaller law or a wider dtype."
        )
    bits = 64 if double else 32
    words = window(draw.lower, draw.upper, bits) if truncated else None
    real = np.float64 if double else np.float32
    return Law(
        kind="uniform" if draw.kind == "uniform" else "normal",
        double=double,
        window=None if words is None or words.size >= 1 << bits else words,
        lower=_edge(draw.lower, real) if truncated else -math.inf,
        upper=_edge(draw.upper, real) if truncated else math.inf,
        width=float(real(draw.width / math.sqrt(2.0) if target.is_complex else draw.width)),
        shift=float(real(draw.shift)),
        dtype=target,
    )


def parts(law: Law, key: Key) -> tuple[tuple[Law, Key], ...]:
    """(law, stream) of the real part and, where the dtype is complex, of the imaginary one, which is not shifted."""
    if not law.dtype.is_complex:
        return ((law, key),)
    return (law, key), (replace(law, shift=0.0), key.for_purpose(IMAGINARY_PURPOSE))
