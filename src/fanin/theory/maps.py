"""What one wide random layer does to the second moment q of a pre-activation and to a correlation c of two.

h' = W phi(h) + b with Var(W_ij) = sigma_w2 / fan_in and Var(b) = sigma_b2. sigma_w2 and sigma_b2 are variances: the
papers' sigma_w squared, sigma_b squared.
"""

from __future__ import annotations

import math

from fanin.errors import TheoryError
from fanin.theory.bivariate import bivariate, bivariate_gap, bivariate_slope
from fanin.theory.callables import ActivationLike
from fanin.theory.moments import gaussian_moments

__all__ = ["c_map", "check_variances", "chi_1", "chi_c", "chi_q", "gap_map", "q_map"]


def check_variances(sigma_w2: float, sigma_b2: float) -> None:
    """Raise TheoryError unless sigma_w2 > 0 and sigma_b2 >= 0, both finite.

    Example:
        >>> check_variances(2.0, 0.0)
    """
    if not (math.isfinite(sigma_w2) and sigma_w2 > 0.0):
        raise TheoryError(
            f"sigma_w2 = fan_in Var(w) must be finite and > 0, got {sigma_w2!r}; He's law has 2, LeCun's 1"
        )
    if not (math.isfinite(sigma_b2) and sigma_b2 >= 0.0):
        raise TheoryError(f"sigma_b2 is the variance of the bias and must be finite and >= 0, got {sigma_b2!r}")


def q_map(phi: ActivationLike, q: float, *, sigma_w2: float, sigma_b2: float = 0.0) -> float:
    """Second moment q of the next layer: sigma_w2 E phi(z)^2 + sigma_b2, z ~ N(0, q).

    Args:
        phi: activation: name, callable or module.
        q: second moment of this layer's pre-activations, >= 0.
        sigma_w2: fan_in Var(w), > 0.
        sigma_b2: variance of the bias, >= 0.

    Accuracy:
        that of `gaussian_moments`: 1e-10 relative.

    Source:
        Poole et al. 2016, arXiv 1606.05340, eq. 3.

    Example:
        >>> q_map("relu", 1.0, sigma_w2=2.0)
        1.0
    """
    check_variances(sigma_w2, sigma_b2)
    return sigma_w2 * gaussian_moments(phi, q=q).second + sigma_b2


def gap_map(phi: ActivationLike, gap: float, *, q: float, sigma_w2: float, sigma_b2: float = 0.0) -> float:
    """1 - c of the next layer from 1 - c of this one: exact also where two inputs have become all but equal.

    Example:
        >>> round(gap_map("relu", 1.0, q=1.0, sigma_w2=2.0), 6)  # c = 0 goes to 0.318310
        0.68169
    """
    return sigma_w2 * bivariate_gap(phi, gap, q=q) / q_map(phi, q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


def c_map(phi: ActivationLike, c: float, *, q: float, sigma_w2: float, sigma_b2: float = 0.0) -> float:
    """Correlation of two inputs after a layer: (sigma_w2 E phi(u1) phi(u2) + sigma_b2) / q_map(q).

    u1, u2 ~ N(0, q) with correlation c; take q = q* for the map of the papers.

    Source:
        Poole et al. 2016, arXiv 1606.05340, eq. 5.

    Example:
        >>> round(c_map("relu", 0.0, q=1.0, sigma_w2=2.0), 6)
        0.31831
    """
    return (sigma_w2 * bivariate(phi, c, q=q) + sigma_b2) / q_map(phi, q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


def chi_1(phi: ActivationLike, *, q: float, sigma_w2: float) -> float:
    """Slope of the c-map at c = 1: sigma_w2 E phi'(z)^2.

    Also the mean squared singular value of the layer's Jacobian, and the factor by which a gradient's square norm
    changes per layer in the backward pass. Below 1 two inputs become alike and gradients vanish; above 1 they part and
    gradients explode.

    Source:
        Schoenholz et al. 2017, arXiv 1611.01232, eq. 5.

    Example:
        >>> chi_1("relu", q=3.0, sigma_w2=2.0)
        1.0
    """
    check_variances(sigma_w2, 0.0)
    return sigma_w2 * gaussian_moments(phi, q=q).dsecond


def chi_q(phi: ActivationLike, *, q: float, sigma_w2: float) -> float:
    """Slope of the q-map: sigma_w2 d E phi(z)^2 / dq = chi_1 + sigma_w2 E phi''(z) phi(z).

    Computed as sigma_w2 E z phi phi' / q, which needs no second derivative.

    Source:
        Schoenholz et al. 2017, arXiv 1611.01232, eq. 8.

    Example:
        >>> chi_q("relu", q=3.0, sigma_w2=2.0)
        1.0
    """
    check_variances(sigma_w2, 0.0)
    return sigma_w2 * gaussian_moments(phi, q=q).second_slope


def chi_c(phi: ActivationLike, gap: float, *, q: float, sigma_w2: float) -> float:
    """Slope of the c-map at c = 1 - gap, at a fixed point q of the q-map: sigma_w2 E phi'(u1) phi'(u2).

    Source:
        Schoenholz et al. 2017, arXiv 1611.01232, eq. 9.

    Example:
        >>> round(chi_c("relu", 1.0, q=1.0, sigma_w2=2.0), 6)
        0.5
    """
    check_variances(sigma_w2, 0.0)
    return sigma_w2 * bivariate_slope(phi, gap, q=q)
