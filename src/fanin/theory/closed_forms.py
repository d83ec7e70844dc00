"""Closed forms of Gaussian moments, for z ~ N(0, q), and of E f(u1) f(u2) at correlation c.

Two tables, by activation name; what is not here is integrated numerically. Every row is held against quadrature and
mpmath.

Source:
    relu and leaky relu: Cho & Saul 2009 (arc-cosine kernels of order 1 and 2). erf: Williams 1997, eq. 11.
    gelu: Kedia et al. 2024, arXiv 2403.09635, appendix A; sin, cos, exp: the characteristic function of a Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

__all__ = ["CLOSED_BIVARIATE", "CLOSED_MOMENTS", "arc_cosine_0", "arc_cosine_1", "arc_cosine_1_gap", "arc_cosine_2"]

MomentValues: TypeAlias = dict[str, float]


def arc_cosine_0(c: float) -> float:
    """2 P(u1 > 0, u2 > 0) = 1 - acos(c)/pi, for unit Gaussians with correlation c.

    Example:
        >>> arc_cosine_0(1.0), arc_cosine_0(0.0)
        (1.0, 0.5)
    """
    return 1.0 - math.acos(c) / math.pi


def arc_cosine_1(c: float) -> float:
    """2 E relu(u1) relu(u2) = (sqrt(1 - c^2) + c (pi - acos c)) / pi: the c-map of relu.

    Example:
        >>> round(arc_cosine_1(0.0), 6)
        0.31831
    """
    return (math.sqrt((1.0 - c) * (1.0 + c)) + c * (math.pi - math.acos(c))) / math.pi


def arc_cosine_1_gap(gap: float) -> float:
    """1 - arc_cosine_1(1 - gap), with no cancellation at small gap.

    With t = acos(c): pi (1 - map) = pi (1 - cos t) - (sin t - t cos t), and 1 - cos t = gap; the bracket is summed as
    a series where its terms cancel.

    Example:
        >>> round(arc_cosine_1_gap(1e-12) / 1e-12, 9)
        0.9999997
    """
    theta = 2.0 * math.asin(math.sqrt(0.5 * gap))
    if theta < 0.3:
        square = theta * theta
        # sin t - t cos t = t^3 (1/3 - t^2/30 + t^4/840 - t^6/45360 + t^8/3991680 - ...)
        series = 1 / 3 - square * (1 / 30 - square * (1 / 840 - square * (1 / 45360 - square / 3991680)))
        bracket = theta * square * series
    else:
        bracket = math.sin(theta) - theta * math.cos(theta)
    return gap - bracket / math.pi


def arc_cosine_2(c: float) -> float:
    """2 E relu(u1)^2 relu(u2)^2 = (3 sin t cos t + (pi - t)(1 + 2 cos^2 t)) / pi, t = acos c.

    Example:
        >>> arc_cosine_2(1.0)
        3.0
    """
    theta = math.acos(c)
    return (3.0 * math.sqrt((1.0 - c) * (1.0 + c)) * c + (math.pi - theta) * (1.0 + 2.0 * c * c)) / math.pi


def _two_slopes(q: float, right: float, left: float) -> MomentValues:
    """F = right x for x > 0, left x for x < 0."""
    mean = (right - left) * math.sqrt(q / (2.0 * math.pi))
    squares = 0.5 * (right * right + left * left)
    return {
        "mean": mean,
        "second": q * squares,
        "var": q * (0.5 * (right**2 + left**2) - (right - left) ** 2 / (2.0 * math.pi)),
        "fourth": 1.5 * q * q * (right**4 + left**4),
        "dmean": 0.5 * (right + left),
        "dsecond": squares,
        "dfourth": 0.5 * (right**4 + left**4),
        "ffprime": (right * right - left * left) * math.sqrt(q / (2.0 * math.pi)),
        "second_slope": squares,
    }


def _relu2(q: float) -> MomentValues:
    return {
        "mean": 0.5 * q,
        "second": 1.5 * q * q,
        "var": 1.25 * q * q,
        "fourth": 52.5 * q**4,
        "dmean": 2.0 * math.sqrt(q / (2.0 * math.pi)),
        "dsecond": 2.0 * q,
        "dfourth": 24.0 * q * q,
        "ffprime": 4.0 * q**1.5 / math.sqrt(2.0 * math.pi),
        "second_slope": 3.0 * q,
    }


def _exp(q: float) -> MomentValues:
    m1, m2 = math.exp(0.5 * q), math.exp(2.0 * q)
    return {
        "mean": m1,
        "second": m2,
        "var": math.exp(q) * math.expm1(q),
        "fourth": math.exp(8.0 * q),
        "dmean": m1,
        "dsecond": m2,
        "dfourth": math.exp(8.0 * q),
        "ffprime": m2,
        "second_slope": 2.0 * m2,
    }


def _sin(q: float, omega: float) -> MomentValues:
    v = omega * omega * q
    return {
        "mean": 0.0,
        "second": -0.5 * math.expm1(-2.0 * v),
        "var": -0.5 * math.expm1(-2.0 * v),
        "fourth": (3.0 - 4.0 * math.exp(-2.0 * v) + math.exp(-8.0 * v)) / 8.0,
        "dmean": omega * math.exp(-0.5 * v),
        "dsecond": 0.5 * omega * omega * (1.0 + math.exp(-2.0 * v)),
        "dfourth": omega**4 * (3.0 + 4.0 * math.exp(-2.0 * v) + math.exp(-8.0 * v)) / 8.0,
        "ffprime": 0.0,
        "second_slope": omega * omega * math.exp(-2.0 * v),
    }


# name -> moments of f under N(0, q); the parameters are the activation's own
CLOSED_MOMENTS: Mapping[str, Callable[..., MomentValues]] = MappingProxyType(
    {
        "linear": lambda q: _two_slopes(q, 1.0, 1.0),
        "relu": lambda q: _two_slopes(q, 1.0, 0.0),
        "leaky_relu": lambda q, negative_slope: _two_slopes(q, 1.0, negative_slope),
        "prelu": lambda q, weight: _two_slopes(q, 1.0, weight),
        "rrelu": lambda q, lower, upper: _two_slopes(q, 1.0, 0.5 * (lower + upper)),
        "abs": lambda q: _two_slopes(q, 1.0, -1.0),
        "relu2": _relu2,
        "exp": _exp,
        "sin": _sin,
    }
)


def _two_slopes_product(q: float, c: float, right: float, left: float) -> float:
    return 0.5 * q * ((right - left) ** 2 * arc_cosine_1(c) + 2.0 * right * left * c)


def _erf_product(q: float, c: float) -> float:
    return 2.0 / math.pi * math.asin(2.0 * q * c / (1.0 + 2.0 * q))


def _gelu_product(q: float, c: float) -> float:
    """Returns q c P(both gates open) + q^2 p (1 + c^2 (1 - q) / (1 + q)), p the density of the two gates at zero.

    Writing Phi(u) = P(g < u), the gates u - g are Gaussian with variance 1 + q and correlation r = q c / (1 + q); the
    rest is integration by parts, twice.
    """
    r = q * c / (1.0 + q)
    both_open = 0.25 + math.asin(r) / (2.0 * math.pi)
    density = 1.0 / (2.0 * math.pi * (1.0 + q) * math.sqrt((1.0 - r) * (1.0 + r)))
    return q * c * both_open + q * q * density * (1.0 + c * c * (1.0 - q) / (1.0 + q))


def _sin_product(q: float, c: float, omega: float) -> float:
    v = omega * omega * q
    return math.exp(-v) * math.sinh(v * c) if v < 300.0 else 0.5 * (math.exp(v * (c - 1.0)) - math.exp(-v * (c + 1.0)))


# name -> E f(u1) f(u2), both N(0, q), correlation c
CLOSED_BIVARIATE: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "linear": lambda q, c: q * c,
        "relu": lambda q, c: _two_slopes_product(q, c, 1.0, 0.0),
        "leaky_relu": lambda q, c, negative_slope: _two_slopes_product(q, c, 1.0, negative_slope),
        "prelu": lambda q, c, weight: _two_slopes_product(q, c, 1.0, weight),
        "rrelu": lambda q, c, lower, upper: _two_slopes_product(q, c, 1.0, 0.5 * (lower + upper)),
        "abs": lambda q, c: _two_slopes_product(q, c, 1.0, -1.0),
        "relu2": lambda q, c: 0.5 * q * q * arc_cosine_2(c),
        "erf": _erf_product,
        "gelu": _gelu_product,
        "exp": lambda q, c: math.exp(q * (1.0 + c)),
        "sin": _sin_product,
    }
)
