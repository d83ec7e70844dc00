"""Activations that a very wide, a very narrow or any Gaussian sees as a power of z, one coefficient a side.

GELU is a rectifier to a signal of std 1e7, and half of its input to one of std 1e-7. There the map of a correlation
does not depend on q any more, and it has a closed form for power 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import numpy as np

from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.bivariate import gap_in_one_pass
from fanin.theory.closed_forms import arc_cosine_1_gap

__all__ = ["PowerLaw", "exact_law", "gap_ratio", "power_law", "second_moment", "slope_moment"]

# In standard deviations: where the function is looked at. |z| below the first has probability 8e-4.
_LOOKED_AT: Final = (1e-3, 0.03, 0.3, 1.0, 3.0, 38.0)
_SAME: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """The function f(z) = right z^degree for z > 0 and left |z|^degree for z < 0.

    Attributes:
        degree: 1 for a rectifier, 2 for its square.
        right: coefficient for z > 0.
        left: coefficient for z < 0; 0 for a rectifier, -1 for the identity.
    """

    degree: float
    right: float
    left: float


def power_law(act: Activation, *, q: float) -> PowerLaw | None:
    """The power law that N(0, q) takes the activation for, or None where it is none.

    Args:
        act: activation.
        q: variance of the Gaussian, > 0.

    Accuracy:
        the coefficients agree to 1e-3 from 1e-3 to 38 standard deviations; so do the maps that follow from them
        (tests/theory/test_criticality.py). Used where q has left what networks work with: below 1e-12, above 1e8.

    Example:
        >>> from fanin.theory.activations import activation
        >>> power_law(activation("gelu"), q=1e16)
        PowerLaw(degree=1.0, right=1.0, left=0.0)
        >>> power_law(activation("gelu"), q=1.0) is None
        True
    """
    z = math.sqrt(q) * np.array(_LOOKED_AT)
    with np.errstate(all="ignore"):
        right, left = (np.asarray(act.fn(side * z), dtype=np.float64) for side in (1.0, -1.0))
        leading = right if abs(right[-2]) >= abs(left[-2]) else left
        degree = math.log(leading[-1] / leading[-2]) / math.log(z[-1] / z[-2]) if _same_sign(leading) else math.nan
        if not 0.5 <= degree <= 8.0:
            return None
        degree = float(round(degree, 6))
        scaled = np.stack((right, left)) / z**degree
    size = float(np.max(np.abs(scaled)))
    if not np.isfinite(scaled).all() or np.max(np.abs(scaled - scaled[:, -2:-1])) > _SAME * size:
        return None
    return PowerLaw(degree=degree, right=float(scaled[0, -2]), left=float(scaled[1, -2]) + 0.0)


@lru_cache(maxsize=256)
def exact_law(act: Activation) -> PowerLaw | None:
    """The power law that the activation is, to rounding, for every signal; None where it is none.

    Example:
        >>> from fanin.theory.activations import activation
        >>> exact_law(activation("leaky_relu")), exact_law(activation("elu"))
        (PowerLaw(degree=1.0, right=1.0, left=-0.01), None)
    """
    law = power_law(act, q=1.0)
    if law is None:
        return None
    z = 10.0 ** np.arange(-8.0, 9.0)
    z = np.concatenate((z, -z))
    values, wanted = np.asarray(act.fn(z), dtype=np.float64), _power(law, z)
    return law if np.all(np.abs(values - wanted) <= 1e-12 * np.abs(z) ** law.degree) else None


def _same_sign(values: Array) -> bool:
    return bool(np.isfinite(values[-2:]).all()) and values[-1] * values[-2] > 0.0


def second_moment(law: PowerLaw, *, q: float) -> float:
    """E f(z)^2 for z ~ N(0, q): (right^2 + left^2) / 2 E |z|^(2 degree).

    Example:
        >>> second_moment(PowerLaw(degree=1.0, right=1.0, left=0.0), q=4.0)
        2.0
    """
    return 0.5 * (law.right**2 + law.left**2) * _power_of(q, law.degree) * _absolute_moment(2.0 * law.degree)


def slope_moment(law: PowerLaw, *, q: float) -> float:
    """E f'(z)^2 for z ~ N(0, q): degree^2 (right^2 + left^2) / 2 E |z|^(2 degree - 2).

    Example:
        >>> slope_moment(PowerLaw(degree=1.0, right=1.0, left=0.0), q=4.0)
        0.5
    """
    power = law.degree - 1.0
    return 0.5 * law.degree**2 * (law.right**2 + law.left**2) * _power_of(q, power) * _absolute_moment(2.0 * power)


def gap_ratio(law: PowerLaw, gap: float) -> float:
    """E (f(u1) - f(u2))^2 / 2 over E f^2, for a Gaussian pair of any variance and correlation 1 - gap.

    For degree 1, with m and d half the sum and half the difference of the two slopes:
    (m^2 gap + d^2 (2 G(gap) - gap)) / (m^2 + d^2), G the gap map of the rectifier.

    Source:
        Cho and Saul 2009, "Kernel Methods for Deep Learning", eq. 6, for the rectifier.

    Example:
        >>> round(gap_ratio(PowerLaw(degree=1.0, right=1.0, left=0.0), 1.0), 6)
        0.68169
    """
    if law.degree != 1.0:
        return _by_quadrature(law, gap)
    even, odd = 0.5 * (law.right + law.left), 0.5 * (law.right - law.left)
    of_magnitude = 2.0 * arc_cosine_1_gap(gap) - gap
    return (odd * odd * gap + even * even * of_magnitude) / (odd * odd + even * even)


def _by_quadrature(law: PowerLaw, gap: float) -> float:
    """At q = 1, where quadrature is at its best: the ratio is the same at every q."""
    return gap_in_one_pass(_activation(law), gap, q=1.0) / second_moment(law, q=1.0)


@lru_cache(maxsize=64)
def _activation(law: PowerLaw) -> Activation:
    fn: Callable[[Array], Array] = partial(_power, law)
    slope = PowerLaw(degree=law.degree - 1.0, right=law.degree * law.right, left=-law.degree * law.left)
    return Activation(name="power_law", fn=fn, derivative=partial(_power, slope), kinks=(0.0,), identity=law)


def _power(law: PowerLaw, z: Array) -> Array:
    return np.asarray(np.where(z > 0.0, law.right, law.left) * np.abs(z) ** law.degree)


def _power_of(q: float, exponent: float) -> float:
    try:
        return float(float(q) ** exponent)
    except OverflowError:
        return math.inf


def _absolute_moment(power: float) -> float:
    """E |z|^power of a standard Gaussian: 1, 1, 3, 15 ... for even powers; infinite at -1 and below."""
    if power <= -1.0:
        return math.inf
    if power % 2.0 == 0.0:
        return float(math.prod(range(1, int(power), 2)))
    return float(2.0 ** (power / 2.0) * math.gamma((power + 1.0) / 2.0) / math.sqrt(math.pi))
