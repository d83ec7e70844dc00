"""Exact integer windows: which of the 2**bits words a truncated normal may be drawn from."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from fanin.errors import ArgumentError

__all__ = ["MIN_WORDS", "NARROW", "Window", "probability", "window"]

NARROW = 1e-3
"""Windows of less probability than this draw from 64-bit words in float64: 32 bits would leave too few values."""

MIN_WORDS = 1 << 24
"""A window must hold at least this many of the 2**64 words (probability 9.1e-13), as many values as a uniform has."""

_PRECISION = 256  # bits; a window edge would have to lie within 2**-190 of a word to be decided wrongly


class Window(NamedTuple):
    """Words low .. low + size - 1 of 2**bits."""

    low: int
    size: int


def _words_below(x: float, bits: int) -> int:
    """Number of words k with (k + 1/2) / 2**bits < Phi(x)."""
    import mpmath

    if math.isinf(x):
        return 0 if x < 0 else 1 << bits
    with mpmath.workprec(_PRECISION):
        edge = int(mpmath.ceil(mpmath.ldexp(mpmath.ncdf(mpmath.mpf(x)), bits) - mpmath.mpf(0.5)))
    return min(max(edge, 0), 1 << bits)


@functools.lru_cache(maxsize=512)
def window(lower: float, upper: float, bits: int) -> Window:
    """The words whose normal number lies in [lower, upper].

    They start at ceil(Phi(lower) 2**bits - 1/2) and end before ceil(Phi(upper) 2**bits - 1/2).

    Computed with 256-bit arithmetic, so it is the same integer on every machine (a float64 ``erfc`` is not).

    Args:
        lower: in standard deviations of the parent normal; -inf is allowed.
        upper: likewise, above `lower`.
        bits: 32 or 64.

    Raises:
        ArgumentError: the window holds fewer than 2**24 of the 2**64 words.

    Example:
        >>> window(-2.0, 2.0, 32)
        Window(low=97711073, size=4099545150)
    """
    low, high = _words_below(lower, bits), _words_below(upper, bits)
    if bits == 64 and high - low < MIN_WORDS:
        raise ArgumentError(
            f"the window [{lower:g}, {upper:g}] standard deviations holds {high - low} of the 2**64 words of a "
            f"stream, too few to follow the law; allowed is a probability of at least {MIN_WORDS / 2**64:.1e}. A "
            "window that narrow is as good as uniform on its interval; one that far out is better drawn from a law "
            "centred "
            "there."
        )
    return Window(low, high - low)


@functools.lru_cache(maxsize=512)
def probability(lower: float, upper: float) -> float:
    """Phi(upper) - Phi(lower), correctly rounded.

    Example:
        >>> probability(-1.0, 1.0)
        0.6826894921370859
    """
    import mpmath

    with mpmath.workprec(_PRECISION):
        return float(mpmath.ncdf(mpmath.mpf(upper)) - mpmath.ncdf(mpmath.mpf(lower)))
