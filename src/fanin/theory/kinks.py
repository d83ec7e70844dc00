"""Where a function nobody described has its kinks and jumps."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.panels import over_the_line, slopes_at, values_at
from fanin.theory.quadrature import NODES, WEIGHTS, RoughFunctionError

__all__ = ["find_kinks"]

_NEIGHBOURHOOD: Final = 1e-3  # in deviations: suspects closer than this are one kink
_REACH: Final = 0.05  # in deviations: how far to each side the two smooth branches are fitted
_DIGITS: Final = 12
_LEVELS: Final = 8  # 4**8 = 65536: near enough for the sections below
_SECTIONS: Final = 64
_MOST: Final = 6  # kinks: each splits every panel of a pair


@lru_cache(maxsize=1024)
def find_kinks(act: Activation, *, mean: float, std: float) -> tuple[float, ...]:
    """Kinks and jumps of an activation within the reach of N(mean, std^2).

    Good to about 1e-11; to 1e-8 where only f'' jumps.

    Adaptive quadrature of f and f'^2 tells where panels must shrink without end; there the smooth branches on the two
    sides are continued as polynomials, and repeated sections find where the function leaves one for the other.

    Example:
        >>> from fanin.theory.callables import resolve
        >>> find_kinks(resolve(lambda x: np.abs(x - 0.7)), mean=0.0, std=1.0)
        (0.7,)
    """

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        z = 0.5 * (hi + lo)[:, None] + half * NODES
        u = (z - mean) / std
        weight = half * WEIGHTS * np.exp(-0.5 * u * u) / (std * math.sqrt(2.0 * math.pi))
        f, eps = values_at(act, z)
        df, noise = slopes_at(act, z, f, half, eps)
        weighted = weight * np.stack((f, df * df))
        noises = np.stack((4.0 * eps * np.abs(f), noise * (2.0 * np.abs(df) + noise)))
        return weighted.sum(-1).T, np.abs(weighted).sum(-1).T, (weight * noises).sum(-1).T

    suspects = over_the_line(act, rule, mean=mean, std=std, kinks=None, levels=_LEVELS).suspects
    clusters = _clusters(suspects, std)
    if len(clusters) > _MOST:
        raise RoughFunctionError(
            f"{act} has more than {_MOST} kinks or jumps within reach of N({mean:g}, {std * std:g})"
        )
    return tuple(sorted({_pin_down(act, lo, hi, reach=_REACH * std) for lo, hi in clusters}))


def _clusters(suspects: tuple[tuple[float, float], ...], std: float) -> list[tuple[float, float]]:
    clusters: list[tuple[float, float]] = []
    for lo, hi in suspects:
        if clusters and lo - clusters[-1][1] < _NEIGHBOURHOOD * std:
            clusters[-1] = (clusters[-1][0], max(hi, clusters[-1][1]))
        else:
            clusters.append((lo, hi))
    return clusters


def _pin_down(act: Activation, lo: float, hi: float, *, reach: float) -> float:
    """The point in [lo, hi] where f goes from its left branch to its right one."""
    left, right = _branch(act, lo - reach, lo), _branch(act, hi, hi + reach)
    for _ in range(9):
        between = np.linspace(lo, hi, _SECTIONS + 1)[1:-1]
        values = values_at(act, between[None, :])[0][0]
        on_the_right = np.abs(values - left(between)) > np.abs(values - right(between))
        first = int(np.argmax(on_the_right)) if on_the_right.any() else between.size
        lo, hi = float((lo, *between)[first]), float((*between, hi)[first])
    return round(0.5 * (lo + hi), _DIGITS) + 0.0  # + 0.0: no negative zero


def _branch(act: Activation, lo: float, hi: float) -> np.polynomial.Chebyshev:
    z = 0.5 * (lo + hi) + 0.5 * (hi - lo) * NODES
    values = values_at(act, z[None, :])[0][0]
    branch: np.polynomial.Chebyshev = np.polynomial.Chebyshev.fit(z, values, deg=8, domain=[lo, hi])
    return branch
