"""Adaptive integration over panels, several integrands at once, to rounding.

A panel is integrated with Gauss-Legendre nodes, then again in four quarters; where the two disagree the quarters are
treated the same way. A kink or a jump at an unknown place is closed in on (a factor 4 a level) until the panel that
holds it has no weight left, so kinked and smooth functions reach the same accuracy, and the last panels tell where the
kinks are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array

__all__ = [
    "DIFFERENTIATE",
    "MAX_LEVELS",
    "MAX_PANELS",
    "NODES",
    "WEIGHTS",
    "Integral",
    "PanelRule",
    "RoughFunctionError",
    "integrate",
]


class RoughFunctionError(TheoryError):
    """Quadrature would take too long on a function."""


def _differentiation_matrix(nodes: Array) -> Array:
    """The matrix from values at the nodes to the derivative of their interpolating polynomial (barycentric form)."""
    gaps = nodes[:, None] - nodes[None, :]
    np.fill_diagonal(gaps, 1.0)
    weights = 1.0 / np.prod(gaps, axis=1)
    matrix = weights[None, :] / weights[:, None] / gaps
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.asarray(matrix)


_GAUSS_LEGENDRE: Final = np.polynomial.legendre.leggauss(16)
NODES: Final[Array] = _GAUSS_LEGENDRE[0]
WEIGHTS: Final[Array] = _GAUSS_LEGENDRE[1]
DIFFERENTIATE: Final[Array] = _differentiation_matrix(NODES)

_QUARTERS: Final = 4
MAX_LEVELS: Final = 22  # 4**22 = 2e13: the last panel holds nothing, and is still wider than a rounding step
MAX_PANELS: Final = 16384
_KINK_LEVEL: Final = 4  # 4**4 = 256 times smaller than where it began: nothing smooth on the scale of 1 needs that

# (left ends, right ends), each (panels,) -> (integrals, of absolute values, of rounding noise), each (panels,
# integrands)
PanelRule: TypeAlias = Callable[[Array, Array], tuple[Array, Array, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Integral:
    """Result of `integrate`.

    Attributes:
        values: the integrals, (integrands,).
        errors: bound on each one's error by the last disagreement plus rounding, (integrands,).
        suspects: (left, right) limits of the panels that had to shrink far: each holds or touches a kink that was not
            given.
        evaluations: panels evaluated.
    """

    values: Array
    errors: Array
    suspects: tuple[tuple[float, float], ...]
    evaluations: int


def integrate(
    rule: PanelRule,
    edges: Sequence[float] | Array,
    *,
    rtol: float = 1e-13,
    levels: int = MAX_LEVELS,
    panels: int = MAX_PANELS,
) -> Integral:
    """Integrals over [edges[0], edges[-1]], the given edges among the panel limits.

    Args:
        rule: integrals over panels; see `PanelRule`.
        edges: increasing panel limits; put known kinks here.
        rtol: disagreement allowed in one panel, relative to the integral of the absolute value over everything.
        levels: how often a panel may be quartered.
        panels: how many panels may be left to refine at one level.

    Raises:
        TheoryError: panels multiply without end.

    Example:
        >>> def rule(lo, hi):
        ...     half = 0.5 * (hi - lo)[:, None]
        ...     x = 0.5 * (hi + lo)[:, None] + half * NODES
        ...     value = (half * np.abs(x - 0.3) * WEIGHTS).sum(axis=1, keepdims=True)
        ...     return value, np.abs(value), 0.0 * value
        >>> result = integrate(rule, [-1.0, 1.0])
        >>> round(float(result.values[0]), 12), any(left <= 0.3 <= right for left, right in result.suspects)
        (1.09, True)
    """
    edges = np.asarray(edges, dtype=np.float64)
    lo, hi = edges[:-1], edges[1:]
    coarse, size, noise = rule(lo, hi)
    allowed = rtol * size.sum(axis=0)
    total, errors = np.zeros_like(allowed), 4.0 * np.finfo(np.float64).eps * size.sum(axis=0)
    suspects: list[tuple[float, float]] = []
    evaluations = lo.size
    for level in range(levels):
        child_lo, child_hi = _quarters(lo, hi)
        fine, _, fine_noise = rule(child_lo, child_hi)
        evaluations += child_lo.size
        fine = fine.reshape(lo.size, _QUARTERS, -1)
        fine_noise = fine_noise.reshape(fine.shape)
        gap = np.abs(fine.sum(axis=1) - coarse)
        settled = np.all(gap <= allowed + noise + fine_noise.sum(axis=1), axis=1)
        total += fine[settled].sum(axis=(0, 1))
        errors += gap[settled].sum(axis=0)
        if level >= _KINK_LEVEL:
            suspects.extend(zip(lo[settled].tolist(), hi[settled].tolist(), strict=True))
        if settled.all():
            return Integral(values=total, errors=errors, suspects=tuple(sorted(suspects)), evaluations=evaluations)
        again = np.repeat(~settled, _QUARTERS)
        if again.sum() > panels:
            raise RoughFunctionError(
                f"the function is rough at more than {panels // _QUARTERS} places: it draws random numbers, is "
                f"rounded "
                "coarsely, or oscillates faster than quadrature can follow. Theory needs piecewise smooth functions, "
                "computed in float32 or better"
            )
        lo, hi = child_lo[again], child_hi[again]
        coarse = fine[~settled].reshape(lo.size, -1)
        noise = fine_noise[~settled].reshape(lo.size, -1)
    # What is left is a jump: its panels are one rounding step wide, so a bounded integrand has nothing there, and one
    # that grows as the panel shrinks is the derivative of the jump, which almost-everywhere derivatives leave out.
    suspects.extend(zip(lo.tolist(), hi.tolist(), strict=True))
    return Integral(values=total, errors=errors, suspects=tuple(sorted(suspects)), evaluations=evaluations)


def _quarters(lo: Array, hi: Array) -> tuple[Array, Array]:
    limits = lo[:, None] + (hi - lo)[:, None] * np.linspace(0.0, 1.0, _QUARTERS + 1)
    limits[:, -1] = hi
    return limits[:, :-1].ravel(), limits[:, 1:].ravel()
