"""Moments of functions too rough for quadrature: many jumps, fast waves, coarse rounding. Drawn instead, always alike.

Quadrature closes in on every kink; a staircase of a hundred steps would take it minutes. Here a Gaussian is cut into
slices of equal chance with one point drawn in each, so that the cost does not depend on the function.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from scipy import special

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.panels import EPS, values_at

__all__ = ["Roughness", "drawn_fourths", "drawn_product", "roughness", "sampled_gap", "sampled_integrals"]

_POINTS: Final = 1 << 13
_SIDE: Final = 64  # points on each side of the square of pairs
_SMALLEST_GAP: Final = 1e-4  # below it a jump is met too seldom; the gap then enters by its leading powers


class Roughness:
    """From which variance on a function is drawn; infinity: never so far."""

    __slots__ = ("from_q",)

    def __init__(self) -> None:
        self.from_q: float = math.inf

    def found(self, q: float) -> None:
        """Quadrature gave up at this variance: wider Gaussians see more of the same, a little narrower ones nearly."""
        self.from_q = min(self.from_q, q / 25.0)


@lru_cache(maxsize=256)
def roughness(act: Activation) -> Roughness:
    """What is known of a function in this process.

    Example:
        >>> from fanin.theory.activations import activation
        >>> roughness(activation("relu")).from_q
        inf
    """
    return Roughness()


@lru_cache(maxsize=4)
def _gaussian(points: int, seed: int) -> Array:
    """One point in each of so many slices of equal chance of N(0, 1), in no order."""
    rng = np.random.default_rng(seed)
    return np.asarray(special.ndtri((np.arange(points) + rng.uniform(0.01, 0.99, points)) / points))


@lru_cache(maxsize=1)
def _square() -> tuple[Array, Array]:
    """Pairs of independent N(0, 1), one in each cell of a square of equal chances, (pairs,) each."""
    rng = np.random.default_rng(1)
    cells = np.arange(_SIDE)[:, None] + rng.uniform(0.01, 0.99, (2, _SIDE, _SIDE))
    cells[1] = np.arange(_SIDE)[None, :] + rng.uniform(0.01, 0.99, (_SIDE, _SIDE))
    x, y = special.ndtri(cells / _SIDE)
    return x.ravel(), y.ravel()


def _slopes(act: Activation, z: Array, std: float) -> Array:
    """F' at points, the flatter of the two one-sided differences: a jump between two points is no slope."""
    f, eps = values_at(act, z)
    step = eps ** (1.0 / 3.0) * np.maximum(np.abs(z), 0.1 * std)
    right, left = values_at(act, z + step)[0], values_at(act, z - step)[0]
    after, before = (right - f) / step, (f - left) / step
    return np.asarray(np.where(np.abs(after) < np.abs(before), after, before))


def sampled_integrals(act: Activation, *, mean: float, std: float, shift: float) -> tuple[Array, float]:
    """E of f - shift, its square, f^2, f^4, f', f'^2, f'^4, f f', (z - mean) f f', and their relative error.

    Accuracy:
        3e-3 relative in E f^2 for functions of any number of jumps (tests/theory/test_callables.py).

    Example:
        >>> from fanin.theory.callables import resolve
        >>> stairs = resolve(lambda x: np.round(8 * x) / 8)
        >>> values, error = sampled_integrals(stairs, mean=0.0, std=1.0, shift=0.0)
        >>> bool(abs(values[2] / (1 + 1 / 768) - 1) < 3e-3), error < 0.05
        (True, True)
    """
    if mean != 0.0:
        return _integrals(act, mean, std, shift)
    place = 2.0 * math.log(std) / _KNOT
    low, share = math.floor(place), place - math.floor(place)
    one, two = (_integrals(act, 0.0, math.exp(0.5 * _KNOT * k), shift) for k in (low, low + 1))
    return (1.0 - share) * one[0] + share * two[0], max(one[1], two[1])


_KNOT: Final = 0.05  # of ln q: between, the integrals are interpolated, so that their scatter is smooth in q


@lru_cache(maxsize=8192)
def _integrals(act: Activation, mean: float, std: float, shift: float) -> tuple[Array, float]:
    z = mean + std * _gaussian(_POINTS, 0)
    f = values_at(act, z)[0]
    df, near = _slopes(act, z, std), f - shift
    parts = np.stack((near, near**2, f * f, (f * f) ** 2, df, df * df, df**4, f * df, (z - mean) * f * df))
    if not np.isfinite(parts).all():
        raise TheoryError(f"the moments of {act} under N({mean:g}, {std * std:g}) exceed every float; use a smaller q")
    halves, size = parts.reshape(len(parts), -1, 2).mean(axis=1), np.maximum(np.abs(parts).mean(axis=1), 1e-300)
    error = float(np.max(np.abs(halves[:, 0] - halves[:, 1]) / size))
    return np.asarray(parts.mean(axis=1)), max(error, EPS)


@lru_cache(maxsize=4096)
def sampled_gap(act: Activation, gap: float, q: float, mean: float = 0.0) -> float:
    """E (f(u1) - f(u2))^2 / 2 at correlation 1 - gap, by drawn pairs.

    Accuracy:
        2 % for functions of any number of jumps; a small gap enters by its slope, and as its root where the function
        jumps.

    Example:
        >>> from fanin.theory.activations import activation
        >>> round(sampled_gap(activation("linear"), 0.5, 1.0), 1)
        0.5
    """
    if gap < _SMALLEST_GAP:
        at_least = sampled_gap(act, _SMALLEST_GAP, q, mean)
        smooth = q * _slope_square(act, q, mean) * _SMALLEST_GAP
        jumps = max(at_least - smooth, 0.0)
        share = gap / _SMALLEST_GAP
        return float(min(smooth, at_least) * share + jumps * math.sqrt(share))
    one, two = _pair(act, act, gap, (q, q), (mean, mean))
    return float(0.5 * np.square(one - two).mean())


def _pair(
    f: Activation, g: Activation, gap: float, qs: tuple[float, float], means: tuple[float, float]
) -> tuple[Array, Array]:
    """Values of two functions at drawn pairs of correlation 1 - gap."""
    x, y = _square()
    alpha, beta = math.sqrt(1.0 - 0.5 * gap), math.sqrt(0.5 * gap)
    one, two = (math.sqrt(q) * (alpha * x + s * beta * y) + m for q, m, s in zip(qs, means, (1.0, -1.0), strict=True))
    return values_at(f, one)[0], values_at(g, two)[0]


def drawn_product(f: Activation, g: Activation, c: float, qs: tuple[float, float], means: tuple[float, float]) -> float:
    """E f(u1) g(u2) at correlation c, by drawn pairs.

    Example:
        >>> from fanin.theory.activations import activation
        >>> round(drawn_product(activation("linear"), activation("linear"), 0.5, (1.0, 4.0), (0.0, 0.0)), 1)
        1.0
    """
    one, two = _pair(f, g, 1.0 - c, qs, means)
    return float((one * two).mean())


def drawn_fourths(act: Activation, c: float, q: float) -> tuple[float, float, float]:
    """E f1 f2, E f1^2 f2^2 and E f1^3 f2 at correlation c, by drawn pairs.

    Example:
        >>> from fanin.theory.activations import activation
        >>> [round(v, 1) for v in drawn_fourths(activation("linear"), 0.5, 1.0)]
        [0.5, 1.5, 1.5]
    """
    one, two = _pair(act, act, 1.0 - c, (q, q), (0.0, 0.0))
    return float((one * two).mean()), float(np.square(one * two).mean()), float((one**3 * two).mean())


def _slope_square(act: Activation, q: float, mean: float) -> float:
    std = math.sqrt(q)
    return float(np.square(_slopes(act, mean + std * _gaussian(_POINTS >> 2, 2), std)).mean())
