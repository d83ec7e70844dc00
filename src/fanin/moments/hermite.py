r"""E f(u) f(v) for Gaussian pairs at all correlations at once.

f(m + s z) is expanded in normalised Hermite polynomials, :math:`f = \sum_k a_k h_k(z)`; then
:math:`E f(u) f(v) = \sum_k a_k^2 c^k` (Mehler), for any number of correlations c at the price of one integral.
`fanin.theory` computes one pair to 1e-10; here a whole kernel is
mapped to about 1e-4, which is what propagation through a graph needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fanin.moments.kernel import Array

__all__ = ["NODES", "GaussianImage", "gaussian_image"]

_CUT = 9.0  # in deviations: tail mass 2e-19
_ORDER = 48
_CELLS = 3600
# 0 lies between nodes, so that a jump there is halved right
NODES: Array = np.asarray((np.arange(_CELLS, dtype=np.float64) + 0.5) * (2.0 * _CUT / _CELLS) - _CUT, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class GaussianImage:
    """f(z) for z ~ N(mean, var): its mean, second moment, fourth moment and Hermite energies.

    Attributes:
        mean: E f.
        second: E f^2.
        fourth: E f^4.
        energies: a_k^2 for k = 0, 1, ...; what is left of E f^2 comes last, its even and its odd part, so that pairs
            of correlation -1 are exact as those of correlation 1 are.
        squares: b_k^2 / (E f^2)^2 for k = 1, 2, of f^2 in place of f: how much of the spread of f^2 is that of the mean
            and of the mean square of what f reads.
        first_order: a_1, so that Cov(f(z), z) = a_1 * std(z).
        positive: f is nowhere negative.
        lost: share of the Gaussian on which f is not finite; the moments are those of the rest.
    """

    mean: float
    second: float
    fourth: float
    energies: Array
    squares: tuple[float, float]
    first_order: float
    lost: float = 0.0
    positive: bool = False

    def pair(self, correlation: Array) -> Array:
        """E f(u) f(v) at the given correlations of u and v (any shape)."""
        return np.asarray(np.polynomial.polynomial.polyval(np.clip(correlation, -1.0, 1.0), self.energies))

    @property
    def kappa(self) -> float:
        """E f^4 / (E f^2)^2 - 1; infinite where one of the two is beyond the range of float64."""
        if not self.second > 0.0:
            return 0.0
        square = self.second * self.second
        ratio = self.fourth / square if square > 0.0 and self.fourth > 0.0 else math.inf
        return max(ratio - 1.0, 0.0) if math.isfinite(ratio) else math.inf


@lru_cache(maxsize=1)
def _basis() -> tuple[Array, Array]:
    """Weights of the nodes, (nodes,), and the polynomials times the weights, (order, nodes)."""
    weights = np.exp(-0.5 * np.square(NODES))
    weights /= weights.sum()
    rows = [np.ones_like(NODES), NODES.copy()]
    for k in range(1, _ORDER - 1):
        rows.append((NODES * rows[k] - np.sqrt(k) * rows[k - 1]) / np.sqrt(k + 1.0))
    return weights, np.stack(rows) * weights


def gaussian_image(f: Callable[[Array], Array], *, mean: float, var: float) -> GaussianImage:
    """The image of N(mean, var) under an elementwise function.

    Args:
        f: float64 array to array of the same shape; values that are not finite are left out and counted.
        mean: mean of the Gaussian.
        var: its variance, >= 0.

    Accuracy:
        1e-5 relative to E f^2 for activations with a kink, 1e-9 for smooth ones, at c = 0, 0.5, 1
        (tests/graph_moments/test_hermite.py).

    Example:
        >>> relu = gaussian_image(lambda z: np.maximum(z, 0.0), mean=0.0, var=1.0)
        >>> round(relu.second, 6), round(float(relu.pair(np.array(0.5))), 4)
        (0.5, 0.3045)
    """
    weights, basis = _basis()
    with np.errstate(all="ignore"):
        values = np.asarray(f(mean + np.sqrt(max(var, 0.0)) * NODES), dtype=np.float64)
    finite = np.isfinite(values)
    lost = float(weights[~finite].sum())
    if lost >= 1.0 - 1e-12:
        nan = float("nan")
        return GaussianImage(nan, nan, nan, np.full(_ORDER + 2, nan), (nan, nan), nan, 1.0)
    values = np.where(finite, values, 0.0)
    kept = 1.0 - lost
    first = float(values @ weights) / kept
    values = np.where(finite, values, first)
    coefficients = basis @ values
    second = float(np.square(values) @ weights)
    energies = np.square(coefficients)
    mirror = float((values * values[::-1]) @ weights)  # E f(z) f(-z): the even energies less the odd ones
    rest = [max(0.5 * (second + s * mirror) - float(energies[k::2].sum()), 0.0) for k, s in ((0, 1.0), (1, -1.0))]
    with np.errstate(over="ignore"):
        fourth = float(values**4 @ weights)
    squares = _squares(basis, values, second)
    positive = bool((values >= 0.0).all())
    energies = np.append(energies, rest)
    return GaussianImage(first, second, fourth, energies, squares, float(coefficients[1]), lost, positive)


def _squares(basis: Array, values: Array, second: float) -> tuple[float, float]:
    """Energies of f^2 at the first two orders, over the square of its mean."""
    relative = values / math.sqrt(second) if second > 0.0 and math.isfinite(second) else np.zeros_like(values)
    one, two = np.square(basis[1:3] @ np.square(relative))
    return float(one), float(two)
