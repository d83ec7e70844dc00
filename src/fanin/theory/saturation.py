"""How many units start where their slope is gone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from fanin.errors import ArgumentError, TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import activation
from fanin.theory.quadrature import NODES, WEIGHTS, integrate

__all__ = ["Saturation", "chebyshev_bound", "exceedance", "saturated_share", "saturation_edge"]

Law: TypeAlias = Literal["normal", "uniform"]

_MANY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """Saturated units of a layer.

    Attributes:
        edge: |z| beyond which a unit counts as saturated.
        share: expected share of saturated units, exact.
        bound: Chebyshev's bound on it, q / edge^2 or 1.
        slope: derivative of the activation at the edge.
        peak: its largest derivative, at 0.
    """

    edge: float
    share: float
    bound: float
    slope: float
    peak: float


def chebyshev_bound(edge: float, *, q: float) -> float:
    """P(|z| > edge) <= min(1, q / edge^2) for any centred z of variance q.

    Example:
        >>> chebyshev_bound(4.0, q=1.0)
        0.0625
    """
    return min(1.0, q / edge**2)


def exceedance(edge: float, *, inputs: Sequence[float] | Array, weight_std: float, law: Law = "normal") -> float:
    r"""P(|z| > edge) for z = sum_i w_i x_i, weights independent with the given standard deviation.

    Normal weights: z is normal, the probability erfc(edge / sqrt(2 q)), q = weight_std^2 sum x_i^2. Uniform weights:
    the exact law
    of a sum of uniforms, by inclusion and exclusion up to 10 inputs, else by inverting its characteristic function
    :math:`\prod_i \mathrm{sinc}(b x_i k)`.

    Args:
        edge: t, > 0.
        inputs: the x_i, at least one nonzero.
        weight_std: standard deviation of a weight; a uniform law's bound is sqrt(3) times that.
        law: ``"normal"`` or ``"uniform"``.

    Accuracy:
        2e-8 absolute, 1e-12 up to 10 inputs (tests/theory/test_units.py).

    Source:
        Gil-Pelaez 1951 for the inversion.

    Example:
        >>> round(exceedance(2.0, inputs=[1.0] * 4, weight_std=0.5), 6)
        0.0455
        >>> exceedance(2.0, inputs=[1.0] * 4, weight_std=0.5, law="uniform") < 0.0455
        True
    """
    x = np.abs(np.asarray(inputs, dtype=np.float64).ravel())
    x = x[x > 0.0]
    if not (edge > 0.0 and weight_std > 0.0 and x.size and np.isfinite(x).all()):
        raise TheoryError(
            f"needs edge > 0, weight_std > 0 and a nonzero input, got edge={edge!r}, weight_std={weight_std!r}"
        )
    if law == "normal":
        return math.erfc(edge / (weight_std * math.sqrt(2.0 * float(x @ x))))
    if law != "uniform":
        raise ArgumentError(f"law must be 'normal' or 'uniform', got {law!r}")
    reach = math.sqrt(3.0) * weight_std * x
    if edge >= reach.sum():
        return 0.0
    return _by_corners(edge, reach) if reach.size <= _MANY else _by_inversion(edge, reach)


def _by_corners(edge: float, reach: Array) -> float:
    """2 P(sum u_i > edge), u_i uniform on [-r_i, r_i]: signed powers over the corners of the box."""
    n = reach.size
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    corners = np.maximum(signs @ reach - edge, 0.0)
    total = math.fsum((np.prod(signs, axis=1) * corners**n).tolist())
    return max(0.0, 2.0 * total / (math.factorial(n) * float(np.prod(2.0 * reach))))


def _by_inversion(edge: float, reach: Array) -> float:
    """1 - (2 / pi) int sin(edge k) / k prod sinc(r_i k) dk."""

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        k = 0.5 * (hi + lo)[:, None] + half * NODES
        damping = np.prod(np.sinc(k[..., None] * reach / math.pi), axis=-1)
        parts = half * WEIGHTS * np.sin(edge * k) / k * damping
        values = parts.sum(-1)[:, None]
        return values, np.abs(parts).sum(-1)[:, None], np.zeros_like(values)

    step = math.pi / float(max(edge, reach.max()))
    # beyond K the integrand is below prod 1 / (r_i k), which 10 inputs or more bring to nothing
    last = float(np.exp((36.0 - np.log(reach).sum()) / reach.size))
    edges = np.linspace(0.0, last, 2 + int(last / step))
    return max(0.0, 1.0 - 2.0 / math.pi * float(integrate(rule, edges).values[0]))


def saturation_edge(phi: Literal["sigmoid", "tanh"], *, slope_share: float = 0.05) -> float:
    """|z| at which the slope has fallen to a share of its peak.

    tanh: sech^2 z = share, z = acosh(1 / sqrt(share)); the logistic function is tanh at half the argument.

    Example:
        >>> round(saturation_edge("tanh", slope_share=0.0591), 2)
        2.09
        >>> round(saturation_edge("sigmoid", slope_share=0.0707), 2)
        4.0
    """
    if not 0.0 < slope_share < 1.0:
        raise TheoryError(f"slope_share is a share of the largest slope, in (0, 1), got {slope_share!r}")
    edge = math.acosh(1.0 / math.sqrt(slope_share))
    return edge if phi == "tanh" else 2.0 * edge


def saturated_share(phi: Literal["sigmoid", "tanh"], *, q: float, edge: float | None = None) -> Saturation:
    """Share of units beyond the edge, for Gaussian pre-activations of second moment q.

    Args:
        phi: ``"sigmoid"`` or ``"tanh"``.
        q: second moment of the pre-activations.
        edge: |z| that counts as saturated; where the slope is 5 % of its peak if left out.

    Source:
        Glorot & Bengio 2010, section 3 (saturated units of deep sigmoid networks).

    Example:
        >>> s = saturated_share("tanh", q=1.0, edge=2.09)
        >>> round(s.share, 3), round(s.bound, 3), round(s.slope, 3)
        (0.037, 0.229, 0.059)
    """
    if phi not in ("sigmoid", "tanh"):
        raise ArgumentError(f"saturation is defined here for 'sigmoid' and 'tanh', got {phi!r}")
    if q <= 0.0:
        raise TheoryError(f"q must be > 0, got {q!r}")
    at = saturation_edge(phi) if edge is None else edge
    slopes = activation(phi).derivative
    slope, peak = (float(slopes(np.array(z))) for z in (at, 0.0)) if slopes is not None else (math.nan, math.nan)
    return Saturation(
        edge=at,
        share=float(special.erfc(at / math.sqrt(2.0 * q))),
        bound=chebyshev_bound(at, q=q),
        slope=slope,
        peak=peak,
    )
