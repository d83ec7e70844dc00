"""Laws of entries that are not Gaussian: what rectified signals and sums of them are, as functions of a normal number.

A block that ends in relu(x + f(x)) adds rectified signals: their sum is skewed, and the next rectifier cuts off less
of it than of a Gaussian with the same two moments. Such an entry is written as mean + std Q(z) with z normal, Q rising;
pairs of entries follow from pairs of z (a Gaussian copula; Cario and Nelson 1997, "Modeling and generating random
vectors with arbitrary marginal distributions and correlation matrix").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

from fanin.moments.hermite import gaussian_image
from fanin.moments.kernel import Array

__all__ = ["GRID", "WEIGHTS", "Law", "of_points", "of_sum"]

GRID: Array = np.asarray(np.linspace(-5.95, 5.95, 120), dtype=np.float64)  # 0 lies between
WEIGHTS: Array = np.asarray(np.exp(-0.5 * np.square(GRID)) / np.exp(-0.5 * np.square(GRID)).sum(), dtype=np.float64)
_NEARLY_NORMAL = 1e-4  # mean square of Q(z) - z below which an entry counts as Gaussian
_STEPS = 401
_ALMOST_ONE = 1.0 - 1e-13


@dataclass(frozen=True, eq=False)
class Law:
    """Law of an entry of mean 0 and variance 1.

    Attributes:
        values: the entry at the quantiles of the normal numbers `GRID`.
    """

    values: Array

    def at(self, z: Array) -> Array:
        """The entry that belongs to normal numbers."""
        return np.asarray(np.interp(z, GRID, self.values))

    def normal(self, correlation: Array) -> Array:
        """Correlations of normal numbers that give pairs of entries these correlations."""
        made, given = self._correlations
        return np.asarray(np.interp(correlation, made, given))

    @cached_property
    def _correlations(self) -> tuple[Array, Array]:
        """Correlations of pairs of entries, and those of the normal numbers that give them."""
        given = np.linspace(-1.0, 1.0, _STEPS)
        image = gaussian_image(self.at, mean=0.0, var=1.0)
        made = (image.pair(given) - image.mean**2) / max(image.second - image.mean**2, 1e-300)
        return np.maximum.accumulate(made), given


def of_points(values: Array, weights: Array) -> Law | None:
    """The law of weighted values, standardised; None where it is nearly Gaussian, or a single number.

    Example:
        >>> of_points(GRID, WEIGHTS) is None
        True
        >>> relu = of_points(np.maximum(GRID, 0.0), WEIGHTS)
        >>> round(float(relu.at(np.array(-1.0))), 3), round(float(relu.at(np.array(2.0))), 3)
        (-0.684, 2.743)
    """
    order = np.argsort(values, kind="stable")
    shares = weights[order] / weights.sum()
    below = np.cumsum(shares) - 0.5 * shares
    return _standardised(np.interp(ndtr(GRID), below, values[order]))


def _standardised(quantiles: Array) -> Law | None:
    mean = float(quantiles @ WEIGHTS)
    std = math.sqrt(float(np.square(quantiles - mean) @ WEIGHTS))
    if not (math.isfinite(std) and std > 1e-9 * (abs(mean) + 1e-300)):
        return None
    values = (quantiles - mean) / std
    return Law(values) if float(np.square(values - GRID) @ WEIGHTS) > _NEARLY_NORMAL else None


def of_sum(terms: Sequence[tuple[float, Law | None]]) -> Law | None:
    """The law of a sum of independent terms, each with its standard deviation (a negative one mirrors it).

    Example:
        >>> relu = of_points(np.maximum(GRID, 0.0), WEIGHTS)
        >>> of_sum([(1.0, None), (2.0, None)]), of_sum([(1.0, relu), (30.0, None)])
        (None, None)
        >>> round(float(of_sum([(1.0, relu), (1.0, None)]).at(np.array(-2.0))), 2)
        -1.73
    """
    normal = math.sqrt(sum(s * s for s, law in terms if law is None))
    values, weights = np.zeros(1), np.ones(1)
    for std, law in terms:
        if law is None:
            continue
        if values.size > GRID.size:
            values, weights = _thinned(values, weights)
        values = np.add.outer(values, std * law.values).reshape(-1)
        weights = np.multiply.outer(weights, WEIGHTS).reshape(-1)
    if values.size == 1:
        return None
    if normal <= 0.0:
        return of_points(values, weights)
    if values.size > GRID.size:
        values, weights = _thinned(values, weights)
    x = np.linspace(values.min() - 6.0 * normal, values.max() + 6.0 * normal, _STEPS)
    below = ndtr((x[:, None] - values) / normal) @ weights
    inside = (below > 1.0 - _ALMOST_ONE) & (below < _ALMOST_ONE)
    return _standardised(np.interp(GRID, ndtri(below[inside]), x[inside]))


def _thinned(values: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted values by as many as `GRID` has, at their quantiles."""
    order = np.argsort(values)
    shares = weights[order] / weights.sum()
    return np.interp(ndtr(GRID), np.cumsum(shares) - 0.5 * shares, values[order]), WEIGHTS
