"""The phase diagram: which (sigma_w2, sigma_b2) forget their input, and which blow gradients up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.interpolate import CubicSpline

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.moments import Moments, gaussian_moments
from fanin.theory.quadrature import RoughFunctionError

__all__ = ["PhaseDiagram", "phase_diagram"]

_LOG_Q: Final[Array] = np.linspace(np.log(1e-8), np.log(1e5), 241)
_BISECTIONS: Final = 52
_USUAL: Final = 10.0  # q up to which every activation has moments


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDiagram:
    """chi_1 and q* over a grid.

    Attributes:
        name: the activation.
        sigma_w2: grid of fan_in Var(w), (columns,).
        sigma_b2: grid of bias variances, (rows,).
        q_star: where q settles, (rows, columns); 0 where it dies, inf where it grows without bound.
        chi_1: squared gradient per layer there, (rows, columns); < 1 ordered, > 1 chaotic.
    """

    name: str
    sigma_w2: Array
    sigma_b2: Array
    q_star: Array
    chi_1: Array

    def depth_scale(self) -> Array:
        """Layers over which a squared gradient changes by e, 1 / |ln chi_1|, (rows, columns)."""
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / np.abs(np.log(self.chi_1)))


def phase_diagram(phi: ActivationLike, *, sigma_w2: Array, sigma_b2: Array, q0: float = 1.0) -> PhaseDiagram:
    """chi_1 at the fixed point q* of every (sigma_w2, sigma_b2) of a grid.

    The moments are computed on 241 values of q and interpolated by splines in log q; all grid points are then solved
    at once.

    Args:
        phi: activation.
        sigma_w2: values of fan_in Var(w), all > 0, (columns,).
        sigma_b2: values of the bias variance, all >= 0, (rows,).
        q0: where the first layer starts.

    Accuracy:
        chi_1 and q* within 1e-6 relative of `depth_scales`, for four bounded activations at q* from 0.02 to 2
        (tests/theory/test_criticality.py).

    Source:
        Poole et al. 2016, arXiv 1606.05340, figure 1.

    Example:
        >>> diagram = phase_diagram("tanh", sigma_w2=np.array([1.0, 3.0]), sigma_b2=np.array([0.05]))
        >>> diagram.chi_1.round(3)
        array([[0.759, 1.209]])
    """
    sigma_w2, sigma_b2 = np.asarray(sigma_w2, dtype=np.float64), np.asarray(sigma_b2, dtype=np.float64)
    if not (sigma_w2.ndim == sigma_b2.ndim == 1 and np.all(sigma_w2 > 0.0) and np.all(sigma_b2 >= 0.0)):
        raise TheoryError("a phase diagram needs 1-D grids with sigma_w2 > 0 and sigma_b2 >= 0 throughout")
    act = resolve(phi)
    moments = _moments_within_floats(act)
    log_q = _LOG_Q[: len(moments)]
    second = CubicSpline(log_q, np.log([max(m.second, 1e-300) for m in moments]))
    slope = CubicSpline(log_q, [m.dsecond for m in moments])
    w, b = np.meshgrid(sigma_w2, sigma_b2)
    log_q, settled = _settle(second, w, b, q0)
    q = np.where(settled == 0, np.exp(log_q), np.where(settled < 0, 0.0, np.inf))
    return PhaseDiagram(
        name=str(act), sigma_w2=sigma_w2, sigma_b2=sigma_b2, q_star=q, chi_1=np.asarray(w * slope(log_q))
    )


def _moments_within_floats(act: Activation) -> list[Moments]:
    """Moments on the values of q, up to the last at which they are finite numbers: beyond it q only grows."""
    found: list[Moments] = []
    for q in np.exp(_LOG_Q):
        try:
            found.append(gaussian_moments(act, q=float(q)))
        except RoughFunctionError:
            raise
        except TheoryError:
            if q < _USUAL:
                raise
            break
    return found


def _settle(second: CubicSpline, w: Array, b: Array, q0: float) -> tuple[Array, Array]:
    """Values of log q* of all points at once, and -1 / 0 / 1 for: dies out / settles / grows without bound.

    Each point follows its q-map in octaves until the drift turns, then bisects.
    """

    def drift(log_q: Array) -> Array:
        change = w * np.exp(second(log_q) - log_q) + b * np.exp(-log_q) - 1.0  # (map(q) - q) / q
        return np.where(np.abs(change) < 1e-9, 0.0, change)

    here = np.full_like(w, np.log(q0))
    direction = np.sign(drift(here))
    low, high = float(second.x[0]), float(second.x[-1])
    for _ in range(int((high - low) / np.log(2.0)) + 1):
        ahead = np.clip(here + direction * np.log(2.0), low, high)
        here = np.where(drift(ahead) * direction > 0.0, ahead, here)
    other = np.clip(here + direction * np.log(2.0), low, high)
    lost = np.where((here == other) & (direction != 0.0), direction, 0.0)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (here + other)
        onward = drift(middle) * direction > 0.0
        here, other = np.where(onward, middle, here), np.where(onward, other, middle)
    return here, lost
