"""Singular values of the input-output Jacobian J = prod D_l W_l: not only their mean, but how far they spread.

The moments of J J^T multiply under free convolution: S-transforms of the layers' D^2 and W W^T, to the power of the
depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from fanin.errors import ArgumentError, TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.moments import gaussian_moments

__all__ = ["Isometry", "Weights", "admits_isometry", "isometry", "jacobian_moments"]

Weights: TypeAlias = Literal["gaussian", "orthogonal"]

# s_1 of Pennington et al.: minus what W W^T adds to the relative variance per layer
_S1: Final = {"gaussian": -1.0, "orthogonal": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Isometry:
    """Spread of the squared singular values.

    Attributes:
        mean: of J J^T's spectrum, chi_1^depth.
        relative_var: their variance over the squared mean; 0 is isometry.
        per_layer: the share of one layer.
    """

    mean: float
    relative_var: float
    per_layer: float


def _check(weights: str, depth: int) -> None:
    if weights not in _S1:
        raise ArgumentError(f"weights must be 'gaussian' or 'orthogonal', got {weights!r}")
    if depth < 1:
        raise TheoryError(f"depth counts layers and must be >= 1, got {depth!r}")


def isometry(
    phi: ActivationLike, *, depth: int, q: float, sigma_w2: float | None = None, weights: Weights = "orthogonal"
) -> Isometry:
    """Mean and relative variance of the squared singular values: depth (mu_2 / mu_1^2 - 1 - s_1), mu_k = E phi'^(2k).

    Args:
        phi: activation.
        depth: number of layers.
        q: second moment of the pre-activations, the same in all of them.
        sigma_w2: fan_in Var(w); critical (1 / mu_1) if left out.
        weights: ``"orthogonal"`` (s_1 = 0) or ``"gaussian"`` (s_1 = -1).

    Accuracy:
        infinite width; one real Jacobian of 8 layers of 300 tanh units lies within 35 % of it
        (tests/theory/test_units.py).

    Source:
        Pennington, Schoenholz, Ganguli 2017, arXiv 1711.04735, eq. 22.

    Example:
        >>> [isometry("relu", depth=16, q=1.0, weights=w).relative_var for w in ("orthogonal", "gaussian")]
        [16.0, 32.0]
    """
    _check(weights, depth)
    m = gaussian_moments(phi, q=q)
    if m.dsecond == 0.0:
        raise TheoryError("a function without slope has a Jacobian of 0; use another activation")
    per_layer = m.dfourth / m.dsecond**2 - 1.0 - _S1[weights]
    chi = 1.0 if sigma_w2 is None else sigma_w2 * m.dsecond
    return Isometry(mean=chi**depth, relative_var=depth * per_layer, per_layer=per_layer)


def admits_isometry(phi: ActivationLike) -> bool:
    """Whether orthogonal weights can bring the spread at any depth to 0, by letting q* go to 0.

    That needs mu_2 / mu_1^2 - 1 to vanish with q (a slope that is continuous at 0, and not 0: tanh, erf, not relu)
    and q* -> 0 to be critical (phi(0) = 0).

    Source:
        Pennington, Schoenholz, Ganguli 2018, arXiv 1802.09979, section 3.

    Example:
        >>> admits_isometry("tanh"), admits_isometry("relu"), admits_isometry("sigmoid")
        (True, False, False)
    """
    act = resolve(phi)
    near, small = gaussian_moments(act, q=1e-8), 1e-8
    if near.dsecond < 1e-12:
        return False
    return near.dfourth / near.dsecond**2 - 1.0 < 1e-3 and near.second < 2.0 * near.dsecond * small


def jacobian_moments(
    phi: ActivationLike,
    *,
    depth: int,
    q: float,
    sigma_w2: float | None = None,
    weights: Weights = "orthogonal",
    order: int = 4,
) -> Array:
    """First moments of the spectrum of J J^T, by S-transforms: S = (S_{D^2} S_{W W^T})^depth.

    Args:
        phi: activation of known derivative (any of the table).
        depth: number of layers.
        q: second moment of the pre-activations.
        sigma_w2: fan_in Var(w); critical if left out.
        weights: law of the weights.
        order: how many moments, 1 to 6.

    Returns:
        m_1 ... m_order, (order,).

    Accuracy:
        depth 1, linear, Gaussian: 1, 2, 5, 14 (Marchenko-Pastur) to rounding; m_2 against `isometry`
        (tests/theory/test_units.py).

    Source:
        Pennington, Schoenholz, Ganguli 2017, arXiv 1711.04735, section 2.3.

    Example:
        >>> jacobian_moments("linear", depth=1, q=1.0, weights="gaussian").round(9).tolist()
        [1.0, 2.0, 5.0, 14.0]
    """
    _check(weights, depth)
    if not 1 <= order <= 6:
        raise ArgumentError(f"order must be from 1 to 6, got {order!r}")
    slopes = _slope_moments(resolve(phi), q, order)
    variance = 1.0 / slopes[0] if sigma_w2 is None else sigma_w2
    layer = _s_transform(slopes)
    if weights == "gaussian":  # S of W W^T is 1 / (sigma_w2 (1 + z))
        layer = _times(layer, _signs(order))
    total = np.eye(1, order)[0]
    for _ in range(depth):
        total = _times(total, layer / variance)
    return _from_s_transform(total)


def _slope_moments(act: Activation, q: float, order: int) -> Array:
    derivative = act.derivative
    if derivative is None:
        raise TheoryError(
            f"{act} has no known derivative, of which higher moments are asked; use `isometry`, which needs two"
        )

    def squared_moment(k: int) -> float:
        power = Activation(
            name=f"{act.name}'^{k}", fn=lambda z: derivative(z) ** k, kinks=act.kinks, identity=("power", act, k)
        )
        return gaussian_moments(power, q=q).second

    return np.array([squared_moment(k) for k in range(1, order + 1)])


def _signs(count: int) -> Array:
    """Coefficients of 1 / (1 + z)."""
    return np.where(np.arange(count) % 2 == 0, 1.0, -1.0)


def _times(a: Array, b: Array) -> Array:
    return np.convolve(a, b)[: a.size]


def _s_transform(moments: Array) -> Array:
    """Coefficients of S(z) = (1 + z) chi(z) / z, chi the inverse series of psi(z) = sum m_k z^k."""
    chi = _inverse_series(moments)  # of z, z^2, ...
    shifted = np.concatenate(([0.0], chi[:-1]))
    return np.asarray(chi + shifted)


def _from_s_transform(s: Array) -> Array:
    """Moments back from S: chi = z S / (1 + z), psi its inverse series."""
    return _inverse_series(_times(s, _signs(s.size)))


def _inverse_series(a: Array) -> Array:
    """Coefficients of the inverse of sum a_k z^k, k from 1 (Lagrange inversion, one order after the other)."""
    n = a.size
    inverse = np.zeros(n)
    inverse[0] = 1.0 / a[0]
    for k in range(1, n):
        composed = np.zeros(n + 1)
        power = np.eye(1, n + 1)[0]
        series = np.concatenate(([0.0], inverse))
        for coefficient in a:
            power = np.convolve(power, series)[: n + 1]
            composed += coefficient * power
        inverse[k] = -composed[k + 1] / a[0]
    return inverse
