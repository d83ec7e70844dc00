"""The edge of chaos: the weights' variance at which gradients neither vanish nor explode, for a given bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from fanin.errors import TheoryError
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.fixed_points import solve_bracketed
from fanin.theory.maps import check_variances, chi_q
from fanin.theory.moments import gaussian_moments

__all__ = ["CriticalPoint", "KeptPoint", "critical_line", "critical_point", "kept_point"]

_SEARCHED: Final = tuple(float(q) for q in np.logspace(-6.0, 3.0, 73))
_HOMOGENEOUS: Final = 1e-11
_LARGEST: Final = 1e6  # sigma_w2 of a critical point
_SMALL: Final = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPoint:
    """A law on the critical line.

    Attributes:
        sigma_w2: fan_in Var(w).
        sigma_b2: variance of the bias.
        q_star: the q it settles at; 0.0 as a limit, 1.0 where every q is kept.
        residual: chi_1 - 1 there.
        iterations: moments evaluated.
        converged: always True; a point that is not found is an error.
        stable: q returns to q_star when disturbed (chi_q < 1), or stays (homogeneous functions).
    """

    sigma_w2: float
    sigma_b2: float
    q_star: float
    residual: float
    iterations: int
    converged: bool
    stable: bool


def _bias_at(act: Activation, q: float) -> float:
    """The sigma_b2 that makes q the fixed point of the law with chi_1 = 1."""
    try:
        m = gaussian_moments(act, q=q)
    except TheoryError:  # too large for a float: far beyond any fixed point
        return -math.inf
    return q - m.second / m.dsecond if 0.0 < m.dsecond < math.inf else -math.inf


def _point(act: Activation, q: float, sigma_b2: float, iterations: int) -> CriticalPoint:
    sigma_w2 = 1.0 / gaussian_moments(act, q=q).dsecond
    return CriticalPoint(
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        q_star=q,
        residual=(sigma_w2 * gaussian_moments(act, q=q).second + sigma_b2 - q) / q,
        iterations=iterations,
        converged=True,
        stable=chi_q(act, q=q, sigma_w2=sigma_w2) <= 1.0 + 1e-12,
    )


def critical_point(phi: ActivationLike, *, sigma_b2: float) -> CriticalPoint:
    """The sigma_w2 with chi_1 = 1 at its own q*, for a given sigma_b2.

    With sigma_w2 = 1 / E phi'(z)^2 the condition q* = q reads sigma_b2 = q - E phi^2 / E phi'^2, one equation for q.
    Of several solutions, the smallest stable q is taken; sigma_w2 beyond 1e6 is nothing that a network could use. The
    limit q* = 0 at sigma_b2 = 0 counts only where signals settle there: tanh has it, and GELU, SiLU and their like do
    not, since every signal leaves it and explodes.

    Args:
        phi: activation.
        sigma_b2: variance of the bias, >= 0.

    Raises:
        TheoryError: no sigma_w2 is critical at this sigma_b2; the message says which sigma_b2 have one.

    Accuracy:
        1e-9 relative in sigma_w2 and q* against mpmath, for tanh and erf, sigma_b2 = 1e-5 to 0.2
        (tests/theory/test_criticality.py): tanh at 0.05 has 1.760955 and q* = 0.570048, erf 1.375839.

    Source:
        Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232, section 3.

    Example:
        >>> point = critical_point("tanh", sigma_b2=0.05)
        >>> round(point.sigma_w2, 6), round(point.q_star, 6)
        (1.760955, 0.570048)
        >>> critical_point("relu", sigma_b2=0.0).sigma_w2
        2.0
    """
    check_variances(1.0, sigma_b2)
    act = resolve(phi)
    if gaussian_moments(act, q=1.0).dsecond == math.inf:
        raise TheoryError(
            f"{act} has no critical point: E f'(z)^2 is infinite, since the slope grows without limit towards a point, "
            "and no sigma_w2 makes chi_1 = 1. Use a function whose slope is bounded"
        )
    biases = [_bias_at(act, q) for q in _SEARCHED]
    if all(abs(b) <= _HOMOGENEOUS * q for b, q in zip(biases, _SEARCHED, strict=True)):
        return _homogeneous(act, sigma_b2)
    if sigma_b2 == 0.0 and abs(biases[0]) < 1e-4 * _SEARCHED[0] and _dies_at_the_origin(act):
        return _at_the_origin(act)
    found = [
        solve_bracketed(lambda q: _bias_at(act, q) - sigma_b2, lo, hi)
        for (lo, low), (hi, high) in pairwise(zip(_SEARCHED, biases, strict=True))
        if (low - sigma_b2) * (high - sigma_b2) < 0.0
    ]
    points = [_point(act, f.value, sigma_b2, f.iterations + len(_SEARCHED)) for f in found]
    points = [p for p in points if p.sigma_w2 <= _LARGEST]
    if not points:
        raise TheoryError(_none(act, sigma_b2, [b for b in biases if math.isfinite(b)]))
    return next((p for p in points if p.stable), points[0])


def _homogeneous(act: Activation, sigma_b2: float) -> CriticalPoint:
    if sigma_b2 > 0.0:
        raise TheoryError(
            f"{act} has no critical point with a bias (sigma_b2 = {sigma_b2:g}): its q-map is a straight line of "
            "slope chi_1, so "
            "q grows without bound at chi_1 = 1. Use sigma_b2 = 0, where every q is kept"
        )
    return _point(act, 1.0, 0.0, len(_SEARCHED))


def _at_the_origin(act: Activation) -> CriticalPoint:
    """Limit of the line at sigma_b2 = 0: q* = 0 and sigma_w2 = 1 / phi'(0)^2 (1 for tanh, pi/4 for erf)."""
    sigma_w2 = 1.0 / gaussian_moments(act, q=1e-16).dsecond
    return CriticalPoint(
        sigma_w2=sigma_w2,
        sigma_b2=0.0,
        q_star=0.0,
        residual=0.0,
        iterations=len(_SEARCHED),
        converged=True,
        stable=True,
    )


def _floored(sigma_b2: float) -> float:
    return sigma_b2 if sigma_b2 > _SEARCHED[0] else 0.0


def _dies_at_the_origin(act: Activation) -> bool:
    """Whether a small q shrinks towards 0 at sigma_w2 = 1 / phi'(0)^2: it does for tanh, and grows for GELU."""
    slope2 = gaussian_moments(act, q=1e-16).dsecond
    return all(gaussian_moments(act, q=q).second <= (1.0 + 1e-9) * slope2 * q for q in _SMALL)


def _none(act: Activation, sigma_b2: float, biases: list[float]) -> str:
    if not biases or max(biases) < 0.0:
        return (
            f"{act} has no critical point at any sigma_b2: at chi_1 = 1 its outputs are so large beside its slopes "
            "that q "
            "grows from layer to layer. Use weights of the forward gain with skip connections or normalisation, or "
            "centre the "
            "function"
        )
    return (
        f"{act} has no critical point that signals settle at for sigma_b2 = {sigma_b2:g}; it has one for sigma_b2 "
        f"between {_floored(min(biases)):.3g} and {max(biases):.3g} (searched for q from {_SEARCHED[0]:g} to "
        f"{_SEARCHED[-1]:g}). Without a bias, use the gain: sigma_w2 = gain^2 keeps q, see kept_point"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPoint:
    """The law that keeps q by the activation's gain, and what it does to gradients and to deviations of q.

    Attributes:
        sigma_w2: gain^2 = q / E phi(z)^2.
        q: the second moment that is kept.
        chi_1: factor of a squared gradient per layer.
        chi_q: factor of a deviation from q per layer; above 1 a deviation grows.
    """

    sigma_w2: float
    q: float
    chi_1: float
    chi_q: float

    @property
    def stable(self) -> bool:
        """Whether q returns after a deviation, or keeps it."""
        return self.chi_q <= 1.0 + 1e-9

    @property
    def layers_to_e_fold(self) -> float:
        """Layers in which a deviation of q grows or shrinks by e; infinite where it stays as it is."""
        return math.inf if abs(self.chi_q - 1.0) <= 1e-9 else 1.0 / abs(math.log(max(self.chi_q, 1e-300)))


def kept_point(phi: ActivationLike, *, q: float = 1.0) -> KeptPoint:
    """The weights that keep q from layer to layer without a bias: what networks use where no critical point exists.

    Args:
        phi: activation.
        q: second moment to keep, > 0.

    Raises:
        TheoryError: E phi^2 is 0, or does not exist.

    Source:
        He et al. 2015, arXiv 1502.01852, eq. 10, for any activation.

    Example:
        >>> point = kept_point("gelu")
        >>> round(point.sigma_w2, 4), round(point.chi_1, 4), point.stable
        (2.3517, 1.072, False)
    """
    act = resolve(phi)
    m = gaussian_moments(act, q=q)
    if m.second <= 0.0:
        raise TheoryError(f"{act} gives 0 for every input that N(0, {q:g}) reaches: no weights keep its signal")
    sigma_w2 = q / m.second
    return KeptPoint(sigma_w2=sigma_w2, q=q, chi_1=sigma_w2 * m.dsecond, chi_q=sigma_w2 * m.second_slope)


def critical_line(phi: ActivationLike, sigma_b2: list[float]) -> list[CriticalPoint]:
    """Critical points over a list of bias variances.

    Example:
        >>> [round(p.sigma_w2, 3) for p in critical_line("tanh", [0.01, 0.1])]
        [1.424, 1.986]
    """
    act = resolve(phi)
    return [critical_point(act, sigma_b2=b) for b in sigma_b2]
