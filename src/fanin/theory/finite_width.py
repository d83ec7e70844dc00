r"""How far a network of finite width strays from the infinite one: the tolerance of every comparison.

A layer of n units averages f(h)^2 over n draws, so its q has a relative variance kappa / n, kappa = E f^4 / (E
f^2)^2 - 1; what earlier layers missed is passed on by the slope of the map. For relu the slope of log q is 1 and Var
log q = 5 sum 1 / n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.bivariate import bivariate, bivariate_slope, pair_fourths
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.depth import SignalCurves
from fanin.theory.moments import Moments, gaussian_moments

__all__ = ["PairSpread", "Spread", "correlation_spread", "kappa", "log_q_var", "spread"]

_STEP: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Variances over random draws of the weights, one per layer.

    Attributes:
        log_q: of the log of mean h^2 over a layer's units, (depth,); this much is also (twice) how far the median
            lies below.
        log_gradient: of the log of mean (dL/dh)^2, the last layer's held fixed, (depth,).
    """

    log_q: Array
    log_gradient: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpread:
    """Standard deviation over draws of the measured correlation of two inputs, and its 1/n bias; (depth,) each."""

    c: Array
    bias: Array


def kappa(phi: ActivationLike, *, q: float = 1.0) -> float:
    """E f^4 / (E f^2)^2 - 1: relative variance that a layer of n units adds to q, times n.

    Example:
        >>> kappa("relu"), kappa("linear")
        (5.0, 2.0)
    """
    return gaussian_moments(phi, q=q).kappa


def log_q_var(phi: ActivationLike, widths: Sequence[int], *, q: float = 1.0) -> float:
    """Var log q after layers of these widths: kappa sum 1 / n, for functions that are homogeneous or nearly so.

    For relu the mean of q is exact and its median exp(-Var / 2) times that: at 40 layers of 128 units a typical
    network has less than half the q that theory gives.

    Source:
        Hanin & Rolnick 2018, arXiv 1803.01719, theorem 5 (their sum of reciprocal widths).

    Accuracy:
        first order in 1/n; at n = 128, 40 layers of relu 1.5625, 1.69 in simulation; at n = 512, 0.391 and 0.393.

    Example:
        >>> log_q_var("relu", [128] * 40)
        1.5625
    """
    _check_widths(widths)
    return kappa(phi, q=q) * sum(1.0 / n for n in widths)


def spread(phi: ActivationLike, curves: SignalCurves, *, widths: Sequence[int], sigma_b2: float = 0.0) -> Spread:
    """Variance of log q and of the log gradient over draws of the weights, for `propagate`'s curves at these widths.

    Linear noise: layer l adds kappa / n to log q and 2 / n to what is measured on its n units; earlier noise arrives
    multiplied by d log q' / d log q. The squared gradient gains (3 E f'^4 / (E f'^2)^2 - 1) / n a layer, and follows
    the noise of q through d log E f'^2 / d log q. Gaussian weights; orthogonal ones spread less.

    Args:
        phi: activation.
        curves: result of `propagate`.
        widths: units of each layer, (depth,).
        sigma_b2: variance of the biases, which are not multiplied.

    Accuracy:
        relu, n = 128 and 512, 40 layers: within the 10 % that 1/n corrections allow (tests/theory/test_networks.py).

    Example:
        >>> from fanin.theory.depth import propagate
        >>> curves = propagate("relu", depth=41, sigma_w2=2.0)
        >>> round(float(spread("relu", curves, widths=[512] * 41).log_q[-1]), 4)  # 40 * 5 / 512 + 2 / 512
        0.3945
    """
    act, depth = resolve(phi), len(curves.q)
    _check_widths(widths)
    if len(widths) != depth:
        raise TheoryError(f"one width per layer: the curves have {depth} layers, widths {len(widths)}")
    here = [gaussian_moments(act, q=float(q)) for q in curves.q]
    weighted = np.append(1.0 - sigma_b2 / curves.q[1:], 1.0)  # share of q' that comes through the weights
    slope = np.array([w * m.second_slope * q / m.second for w, m, q in zip(weighted, here, curves.q, strict=True)])
    added = np.array([w * w * m.kappa / n for w, m, n in zip(weighted, here, widths, strict=True)])
    hidden = np.zeros(depth)
    for layer in range(depth - 1):
        hidden[layer + 1] = slope[layer] ** 2 * hidden[layer] + added[layer]
    return Spread(
        log_q=hidden + 2.0 / np.asarray(widths, dtype=np.float64),
        log_gradient=_gradient_var(act, curves, here, widths=widths, slope=slope, added=added),
    )


def _gradient_var(
    act: Activation, curves: SignalCurves, here: list[Moments], *, widths: Sequence[int], slope: Array, added: Array
) -> Array:
    depth = len(here)
    own = np.array([(3.0 * m.dfourth / m.dsecond**2 - 1.0) / n for m, n in zip(here, widths, strict=True)])
    follows = np.array([_slope_of_slopes(act, float(q)) for q in curves.q])
    variance = np.zeros(depth)
    for first in range(depth - 1):
        # noise born in layer k reaches the gradient at `first` through every later layer's E f'^2
        reach, total = 0.0, float(own[first : depth - 1].sum())
        for layer in range(depth - 2, 0, -1):
            reach = (follows[layer] if layer >= first else 0.0) + slope[layer] * reach
            total += reach**2 * added[layer - 1]
        variance[first] = total
    return variance


def _slope_of_slopes(act: Activation, q: float) -> float:
    """Logarithmic slope d log E f'^2 / d log q."""
    above, below = gaussian_moments(act, q=q * (1.0 + _STEP)), gaussian_moments(act, q=q * (1.0 - _STEP))
    return (math.log(above.dsecond) - math.log(below.dsecond)) / (2.0 * _STEP)


def correlation_spread(
    phi: ActivationLike, curves: SignalCurves, *, widths: Sequence[int], sigma_w2: Sequence[float]
) -> PairSpread:
    """Standard deviation of the correlation of two inputs, measured over a layer's units, by draws of the weights.

    Linear noise again, now of (q1, q2, q12): its covariance is carried by the Jacobian of the map and gains
    sigma_w2^2 Cov(f1^2, f2^2, f1 f2) / n a layer. Gaussian weights.

    Args:
        phi: activation.
        curves: result of `propagate`.
        widths: units of each layer, (depth,).
        sigma_w2: fan_in Var(w) of the layers after the first, (depth - 1,).

    Accuracy:
        first order in 1/n (tests/theory/test_networks.py).

    Example:
        >>> from fanin.theory.depth import propagate
        >>> curves = propagate("linear", depth=2, sigma_w2=1.0)
        >>> result = correlation_spread("linear", curves, widths=[100, 100], sigma_w2=[1.0])
        >>> result.c.round(4).tolist()  # 1 / sqrt(100), then with the first layer's on top
        [0.1, 0.1414]
    """
    act = resolve(phi)
    covariance = np.zeros((3, 3))
    std, bias = [], []
    for layer, (q, gap, n) in enumerate(zip(curves.q.tolist(), curves.gap.tolist(), widths, strict=True)):
        gradient = np.array([-0.5 * (1.0 - gap) / q, -0.5 * (1.0 - gap) / q, 1.0 / q])
        measured = covariance + _gaussian_pair(q, gap) / n
        std.append(math.sqrt(max(float(gradient @ measured @ gradient), 0.0)))
        bias.append(2.0 * float(np.trace(measured)) / q**2 * min(gap, 1.0))
        if layer < len(widths) - 1:
            jacobian, noise = _pair_step(act, q, gap)
            covariance = sigma_w2[layer] ** 2 * (jacobian @ covariance @ jacobian.T + noise / n)
    return PairSpread(c=np.array(std), bias=np.array(bias))


def _gaussian_pair(q: float, gap: float) -> Array:
    """Covariance of (h1^2, h2^2, h1 h2) for a Gaussian pair."""
    c = 1.0 - gap
    return np.asarray(
        q * q * np.array([[2.0, 2.0 * c * c, 2.0 * c], [2.0 * c * c, 2.0, 2.0 * c], [2.0 * c, 2.0 * c, 1.0 + c * c]])
    )


def _pair_step(act: Activation, q: float, gap: float) -> tuple[Array, Array]:
    """Jacobian of (E f1^2, E f2^2, E f1 f2) in (q1, q2, q12), and the covariance of (f1^2, f2^2, f1 f2)."""
    m, c = gaussian_moments(act, q=q), 1.0 - gap
    across = bivariate_slope(act, gap, q=q) if gap > 0.0 else m.dsecond
    along = (bivariate(act, c, q=q * (1.0 + _STEP)) - bivariate(act, c, q=q * (1.0 - _STEP))) / (2.0 * _STEP * q)
    own = 0.5 * (along - c * across)
    jacobian = np.array([[m.second_slope, 0.0, 0.0], [0.0, m.second_slope, 0.0], [own, own, across]])
    product, squares, cube = pair_fourths(act, c, q=q)
    v, w = m.fourth - m.second**2, squares - m.second**2
    x, y = cube - m.second * product, squares - product**2
    return jacobian, np.array([[v, w, x], [w, v, x], [x, x, y]])


def _check_widths(widths: Sequence[int]) -> None:
    if not widths or any(n < 1 for n in widths):
        raise TheoryError(f"widths count units, at least one layer and every one >= 1, got {list(widths)!r}")
