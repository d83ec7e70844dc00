"""Where a function rises ever more steeply towards a point, as sqrt|x| does at 0 and asin at 1.

Near such a point s a function is c + |x - s|^p with p below 1. Its slope is then p |x - s|^(p - 1): the second moment
of that is infinite where p is 1/2 or less, the fourth where p is 3/4 or less. Quadrature gives some number there all
the same, the larger the longer it runs.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.panels import EPS, values_at

__all__ = ["steepest_power"]

_REACH: Final = 8.0  # deviations that are looked at
_GRID: Final = 1 << 12
_SUSPECTS: Final = 16  # places of the grid where the function bends most
_SECTIONS: Final = 32  # of an interval that is looked into
_LEVELS: Final = 12
_STEPS: Final = (18, 30)  # halvings of a deviation: the distances from the point at which the function is read
_CLEAR: Final = 1e3  # times what is not known of the point's place
_FEWEST: Final = 4  # distances over which the power must stay the same
_SAME: Final = 0.02
_JUMP: Final = 0.02  # powers this near to 0 are jumps, whose sides may be flat
_NOISE: Final = 1e3  # times the rounding of the function's values: what changes less tells nothing


def steepest_power(act: Activation, *, mean: float, std: float) -> float:
    """The smallest power p of |x - s| at a point s that N(mean, std^2) reaches; 1 where there is none below 1.

    Jumps are no such points: the slope on their sides is that of the function beside them.

    Accuracy:
        0.01 for a single power; sums of several show the smallest.

    Example:
        >>> from fanin.theory.callables import resolve
        >>> round(steepest_power(resolve(lambda x: np.abs(x - 0.3) ** 0.5), mean=0.0, std=1.0), 2)
        0.5
        >>> steepest_power(resolve("relu"), mean=0.0, std=1.0)
        1.0
    """
    z = np.linspace(mean - _REACH * std, mean + _REACH * std, _GRID)
    bends = _bends(act, z)
    suspects = 1 + np.argsort(bends)[-_SUSPECTS:]
    return min((_power(act, float(z[i - 1]), float(z[i + 1]), std) for i in suspects), default=1.0)


def _bends(act: Activation, z: Array) -> Array:
    """|f(a) - 2 f(b) + f(c)| of three neighbours; 0 where it may be rounding."""
    f = values_at(act, z[None, :])[0][0]
    bends = np.abs(f[:-2] - 2.0 * f[1:-1] + f[2:])
    return np.where(bends > _NOISE * EPS * np.abs(f[1:-1]), bends, 0.0)


def _power(act: Activation, lo: float, hi: float, std: float) -> float:
    """The power of the point in an interval around which a function bends most; 1 where none below 1 shows."""
    for _ in range(_LEVELS):
        z = np.linspace(lo, hi, _SECTIONS + 1)
        at = 1 + int(np.argmax(_bends(act, z)))
        if not z[at - 1] < z[at] < z[at + 1]:
            break
        lo, hi = float(z[at - 1]), float(z[at + 1])
    middle = 0.5 * (lo + hi)
    steps: Array = np.ldexp(std, -np.arange(*_STEPS))
    steps = steps[steps > _CLEAR * (hi - lo)]
    return min(_on_one_side(act, middle + sign * steps) for sign in (-1.0, 1.0))


def _on_one_side(act: Activation, z: Array) -> float:
    """The power by which f changes over places each half as far from a point as the one before."""
    f = values_at(act, z[None, :])[0][0] if z.size > _FEWEST else np.zeros(1)
    rises = np.abs(np.diff(f))
    if rises.size < _FEWEST or not (rises > _NOISE * EPS * np.abs(f[1:])).all():
        return 1.0
    powers = np.log2(rises[:-1] / rises[1:])
    power = float(np.median(powers))
    steady = float(np.ptp(powers)) <= _SAME
    return power if steady and abs(power) > _JUMP and power < 1.0 - _SAME else 1.0
