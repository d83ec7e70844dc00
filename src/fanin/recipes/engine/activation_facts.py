"""Facts of an activation for recipes: its moments, whether it is odd or bounded, and whether f(x) - f(-x) is linear."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import FaninError
from fanin.graph.analysis.activations import FoundActivation
from fanin.theory.activations import activation_names
from fanin.theory.moments import Moments, gaussian_moments

__all__ = [
    "bend",
    "is_bounded",
    "is_exponential",
    "is_limited",
    "is_odd",
    "mirror_slope",
    "moments_of",
    "size_slope",
    "theory_name",
]

_GRID: npt.NDArray[np.float64] = np.linspace(-6.0, 6.0, 241)
_EXACT = 1e-5  # relative; models compute some constants in float32
_FAR_GRID: npt.NDArray[np.float64] = np.linspace(-400.0, 400.0, 801)
_LINEAR = 1e-3  # distance from a line that no signal notices
_FAR = 40.0  # where the slope of f(x) - f(-x) is taken
_STEP = 1.01  # of q, either side, over which its slope is taken
_NEARLY = 0.25  # distance from a line up to which mirroring trained better: 0.20 for Mish, 0.6 for ELU


def moments_of(activation: FoundActivation, q: float = 1.0) -> Moments | None:
    """Gaussian moments of an activation at pre-activation variance q; None where it has none.

    Example:
        >>> moments_of(FoundActivation("relu", fn=lambda x: np.maximum(x, 0.0))).second
        0.5
    """
    return _moments(theory_name(activation), q)


def theory_name(activation: FoundActivation) -> Any:
    """What the theory takes for an activation: its name where the table has it as it is, else its function.

    Example:
        >>> theory_name(FoundActivation("tanh", fn=np.tanh))
        'tanh'
    """
    plain = activation.gain == 1.0 and activation.inner == 1.0 and activation.name in _known()
    return activation.name if plain else activation.fn


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    """Names in the theory's table; a graph's names go beyond it (cube, sin2)."""
    return frozenset(activation_names())


@lru_cache(maxsize=4096)
def _moments(phi: Any, q: float) -> Moments | None:
    try:
        return gaussian_moments(phi, q=q)
    except FaninError:
        return None


def _values(activation: FoundActivation) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    with np.errstate(all="ignore"):
        return np.asarray(activation.fn(_GRID)), np.asarray(activation.fn(-_GRID))


def mirror_slope(activation: FoundActivation) -> float | None:
    """The a of f(x) - f(-x) = a x, where that difference is (nearly) linear; None where it is not.

    1 for ReLU, GELU, SiLU, softplus and hardswish, 1 + s for a leaky ReLU of slope s. Behind such an activation the
    difference of two units with opposite weights is linear in their input. Where it is nearly linear (Mish), a is the
    factor of a unit Gaussian's rms, sqrt(E (f(x) - f(-x))^2) = 1.127: the rms stays 1 from layer to layer.

    Source: Balduzzi et al. 2017 (arXiv 1702.08591), for ReLU; the identity is elementary for the others.

    Example:
        >>> mirror_slope(FoundActivation("leaky_relu", fn=lambda x: np.where(x > 0, x, 0.2 * x)))
        1.2
        >>> mirror_slope(FoundActivation("tanh", fn=np.tanh)) is None
        True
    """
    right, left = _values(activation)
    with np.errstate(all="ignore"):
        odd = right - left
        far = np.asarray(activation.fn(np.array([-_FAR, _FAR])), dtype=np.float64)
        slope = round(float((far[1] - far[0]) / _FAR), 5)
    if not np.isfinite(odd).all() or not np.isfinite(slope) or slope == 0.0:
        return None
    off = float(np.abs(odd - slope * _GRID).max())
    if off > _NEARLY * abs(slope):
        return None
    return slope if off <= _LINEAR * abs(slope) else math.copysign(_rms_of_unit_gaussian(odd), slope)


def _rms_of_unit_gaussian(values: npt.NDArray[np.float64]) -> float:
    """Rms of a function of a standard normal number, from its values on the grid (6 std either side)."""
    density = np.exp(-0.5 * _GRID**2)
    return round(math.sqrt(float((values**2 * density).sum() / density.sum())), 5)


def is_odd(activation: FoundActivation) -> bool:
    """Whether f(-x) = -f(x).

    Example:
        >>> is_odd(FoundActivation("tanh", fn=np.tanh))
        True
    """
    right, left = _values(activation)
    return bool(np.abs(right + left).max() <= _EXACT * np.abs(right).max())


def is_bounded(activation: FoundActivation) -> bool:
    """Whether it saturates: beyond 20 it grows by less than a fifth of 1 plus its value there.

    Example:
        >>> relu = FoundActivation("relu", fn=lambda x: np.maximum(x, 0))
        >>> is_bounded(FoundActivation("tanh", fn=np.tanh)), is_bounded(relu)
        (True, False)
    """
    with np.errstate(all="ignore"):
        ends = np.asarray(activation.fn(np.array([-400.0, -20.0, 20.0, 400.0])), dtype=np.float64)
    return bool(
        np.isfinite(ends).all()
        and abs(ends[3] - ends[2]) + abs(ends[1] - ends[0]) < 0.2 * (1 + np.abs(ends[1:3]).max())
    )


def is_limited(activation: FoundActivation) -> bool:
    """Whether it stays below twice its largest value within 6 of zero, also where it never settles.

    Example:
        >>> is_limited(FoundActivation("sin", fn=np.sin)), is_limited(FoundActivation("relu", fn=lambda x: x * (x > 0)))
        (True, False)
    """
    with np.errstate(all="ignore"):
        near, far = (np.abs(np.asarray(activation.fn(x), dtype=np.float64)) for x in (_GRID, _FAR_GRID))
    return bool(np.isfinite(far).all() and far.max() <= 2.0 * near.max())


def is_exponential(activation: FoundActivation) -> bool:
    """Whether it is the exponential of an odd function: f(x) > 0, and f(-x) = f(0)² / f(x).

    Example:
        >>> bounded = FoundActivation("exp of tanh", fn=lambda x: np.exp(np.tanh(x)))
        >>> is_exponential(bounded), is_exponential(FoundActivation("sigmoid", fn=lambda x: 1.0 / (1.0 + np.exp(-x))))
        (True, False)
    """
    right, left = _values(activation)
    middle = right[len(right) // 2]
    if not (np.isfinite(right).all() and (right > 0.0).all() and np.ptp(right) > _EXACT * middle):
        return False
    return bool(np.allclose(right * left, middle**2, rtol=_EXACT, atol=0.0))


def size_slope(activation: FoundActivation, q: float = 1.0) -> float:
    """What power of a signal's size comes out, d ln E f(z)^2 / d ln q with z ~ N(0, q); nan where f has no moments.

    1 for ReLU, k for a power x^k, 0 where f is constant. At 2, a sample that is 10 % larger than others (in q) is 20 %
    larger after one layer and three times as large after six.

    Example:
        >>> relu = FoundActivation("relu", fn=lambda x: np.maximum(x, 0.0))
        >>> round(size_slope(relu), 6), round(size_slope(FoundActivation("square", fn=np.square)), 6)
        (1.0, 2.0)
    """
    less, more = moments_of(activation, q / _STEP), moments_of(activation, q * _STEP)
    if less is None or more is None or not (less.second > 0.0 and more.second > 0.0):
        return math.nan
    return math.log(more.second / less.second) / (2.0 * math.log(_STEP))


def bend(activation: FoundActivation) -> float:
    """Input at which a function saturates: half its range over its slope at zero, 1 for tanh.

    1 for an activation that does not saturate, or is flat at zero. sigmoid(z) = (1 + tanh(z / 2)) / 2, so a logistic
    unit without its mean is a tanh unit that reads z / 2 and returns half: its weights are four times those of tanh.

    Example:
        >>> logistic = FoundActivation("sigmoid", fn=lambda z: 1.0 / (1.0 + np.exp(-z)))
        >>> round(bend(logistic), 6), round(bend(FoundActivation("tanh", fn=np.tanh)), 6)
        (2.0, 1.0)
    """
    if not is_bounded(activation):
        return 1.0
    with np.errstate(all="ignore"):
        low, left, right, high = np.asarray(activation.fn(np.array([-400.0, -1e-4, 1e-4, 400.0])), dtype=np.float64)
    slope = (right - left) / 2e-4
    return float(abs((high - low) / (2.0 * slope))) if abs(slope) > _EXACT else 1.0
