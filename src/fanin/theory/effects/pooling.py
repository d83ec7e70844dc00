"""Pooling: averages lose variance, maxima gain a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.quadrature import NODES, WEIGHTS, integrate

__all__ = ["PoolMoments", "average_pool_moments", "max_pool_moments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMoments:
    """Moments behind a pooling window.

    Attributes:
        mean: mean.
        var: variance.
        gradient: mean square of the gradient at an input over that at the output, windows not overlapping.
    """

    mean: float
    var: float
    gradient: float

    @property
    def second(self) -> float:
        """mean^2 + var."""
        return self.mean**2 + self.var


def average_pool_moments(taps: int, *, mean: float = 0.0, var: float = 1.0, correlation: float = 0.0) -> PoolMoments:
    """Average of `taps` values with one pairwise correlation: var (1 + (taps - 1) correlation) / taps.

    Images are correlated between neighbours; taking correlation 0 then underestimates what is left.

    Example:
        >>> average_pool_moments(4, mean=1.0, correlation=0.5).var
        0.625
    """
    _check(taps, var, correlation)
    return PoolMoments(mean=mean, var=var * (1.0 + (taps - 1) * correlation) / taps, gradient=1.0 / taps**2)


def max_pool_moments(taps: int, *, mean: float = 0.0, var: float = 1.0, correlation: float = 0.0) -> PoolMoments:
    """Largest of `taps` Gaussians with one pairwise correlation, by the density k phi(z) Phi(z)^(k - 1).

    Equally correlated Gaussians share a part sqrt(correlation) z0, which passes the maximum unchanged.

    Args:
        taps: window size, >= 1.
        mean: mean of the inputs.
        var: their variance.
        correlation: between any two of them, in [0, 1].

    Accuracy:
        1e-12 (tests/theory/test_effects.py): second moment at 9 taps 2.562617.

    Source:
        order statistics of the normal law, e.g. David & Nagaraja, Order Statistics, section 3.2.

    Example:
        >>> pooled = max_pool_moments(9)
        >>> round(pooled.mean, 4), round(pooled.var, 4)
        (1.485, 0.3574)
    """
    _check(taps, var, correlation)
    if correlation < 0.0:
        raise TheoryError(f"correlation must be >= 0 for a maximum, got {correlation!r}")
    first, second = _largest(taps)
    own = (1.0 - correlation) * var
    return PoolMoments(
        mean=mean + math.sqrt(own) * first,
        var=own * (second - first**2) + correlation * var,
        gradient=1.0 / taps,
    )


@lru_cache(maxsize=256)
def _largest(taps: int) -> tuple[float, float]:
    """First and second moment of the largest of `taps` standard normals."""

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        z = 0.5 * (hi + lo)[:, None] + half * NODES
        density = taps * np.exp(-0.5 * z * z + (taps - 1) * special.log_ndtr(z)) / math.sqrt(2.0 * math.pi)
        parts = half * WEIGHTS * density * np.stack((z, z * z))
        values = parts.sum(-1).T
        return values, np.abs(parts).sum(-1).T, np.zeros_like(values)

    first, second = integrate(rule, np.arange(-12.0, 13.0, 2.0)).values
    return float(first), float(second)


def _check(taps: int, var: float, correlation: float) -> None:
    if taps < 1 or var < 0.0 or not -1.0 <= correlation <= 1.0 or 1.0 + (taps - 1) * correlation < 0.0:
        raise TheoryError(
            f"needs taps >= 1, var >= 0 and a correlation that {taps!r} values can have, got var={var!r}, "
            f"correlation={correlation!r}"
        )
