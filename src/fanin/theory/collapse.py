"""Dead units and samples that have become one: what is expected of a batch, so that only the excess is a finding."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import special

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.depth import SignalCurves
from fanin.theory.quadrature import NODES, WEIGHTS, integrate

__all__ = ["collapse_layer", "dead_unit_share", "variance_share"]


@lru_cache(maxsize=1024)
def dead_unit_share(c: float, samples: int) -> float:
    """Expected share of relu units that are off for every one of N samples: E_z Phi(-z sqrt(c / (1 - c)))^N.

    A unit's pre-activations over samples of pairwise correlation c are Gaussian with a shared part; alike samples
    switch off together, so at c = 0.9 a healthy layer has 17 to 28 % such units. They are a sign of collapse, not of
    dead units.

    Args:
        c: mean correlation of the pre-activations of two samples, in [0, 1].
        samples: N, >= 1.

    Accuracy:
        1e-10 absolute (tests/theory/test_units.py): 2^-N at c = 0, 1/(N + 1) at c = 1/2, 1/2 at c = 1.

    Example:
        >>> dead_unit_share(0.0, 3), round(dead_unit_share(0.5, 9), 9), dead_unit_share(1.0, 100)
        (0.125, 0.1, 0.5)
    """
    if not (0.0 <= c <= 1.0 and samples >= 1):
        raise TheoryError(f"c is a mean correlation in [0, 1] and samples a count >= 1, got {c!r} and {samples!r}")
    if c == 0.0:
        return 0.5**samples
    if c == 1.0:
        return 0.5
    ratio = math.sqrt(c / (1.0 - c))

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        z = 0.5 * (hi + lo)[:, None] + half * NODES
        off = np.exp(-0.5 * z * z + samples * special.log_ndtr(-z * ratio)) / math.sqrt(2.0 * math.pi)
        values = (half * WEIGHTS * off).sum(-1)[:, None]
        return values, np.abs(values), np.zeros_like(values)

    return float(integrate(rule, np.arange(-12.0, 13.0, 1.0)).values[0])


def variance_share(c: float, samples: int) -> float:
    """Share of a layer's energy that tells samples apart, E |h - mean h|^2 / E |h|^2 = (1 - c)(1 - 1/N).

    Example:
        >>> round(variance_share(0.9, 10), 3)
        0.09
    """
    if not (-1.0 <= c <= 1.0 and samples >= 1):
        raise TheoryError(f"c is a correlation in [-1, 1] and samples a count >= 1, got {c!r} and {samples!r}")
    return (1.0 - c) * (1.0 - 1.0 / samples)


def collapse_layer(curves: SignalCurves, *, gap: float = 1e-3) -> int | None:
    """First layer whose two inputs are closer than `gap` in 1 - c; None if that does not happen.

    Example:
        >>> from fanin.theory.depth import propagate
        >>> collapse_layer(propagate("tanh", depth=40, sigma_w2=1.0, sigma_b2=0.05))
        27
    """
    below = np.flatnonzero(curves.gap < gap)
    return int(below[0]) if below.size else None
