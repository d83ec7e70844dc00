"""q, c and the gradient, layer by layer, before any network runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.bivariate import gap_in_one_pass
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.laws import classic_law
from fanin.theory.leaps import follow
from fanin.theory.maps import check_variances
from fanin.theory.moments import gaussian_moments
from fanin.theory.power_laws import PowerLaw, exact_law, gap_ratio, power_law, second_moment, slope_moment

__all__ = ["DEEPEST", "SignalCurves", "propagate", "propagate_law"]

_UNDERFLOW = 1e-280
_AT_REST = 1e-13
_ORDINARY = (1e-12, 1e8)  # q for which one pass of quadrature is right to 1e-3 and better
_KNOTS = 64
DEEPEST = 100_000  # beyond, curves take memory and time and say nothing new


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCurves:
    """Curves over depth; index 0 is the first layer's pre-activation.

    Attributes:
        name: the law or setting.
        q: second moment of the pre-activations, (depth,).
        gap: 1 - c, c the correlation of two inputs' pre-activations, (depth,).
        gradient: mean square of dL/dh at each layer over that at the last, (depth,); the last is 1.
        chi_1: squared-gradient factor of each layer, (depth,).
    """

    name: str
    q: Array
    gap: Array
    gradient: Array
    chi_1: Array

    @property
    def c(self) -> Array:
        """Correlation of two inputs, (depth,)."""
        return 1.0 - self.gap


def propagate(
    phi: ActivationLike,
    *,
    depth: int,
    sigma_w2: float | Sequence[float],
    sigma_b2: float | Sequence[float] = 0.0,
    sigma_back2: float | Sequence[float] | None = None,
    q0: float = 1.0,
    c0: float = 0.0,
    name: str = "",
) -> SignalCurves:
    """Predicted q, c and gradient of a plain network h_l = W_l phi(h_{l-1}) + b_l.

    Args:
        phi: activation.
        depth: number of pre-activations h_0 ... h_{depth-1}, >= 1.
        sigma_w2: fan_in Var(w) of the layers after the first, one number or depth - 1 of them.
        sigma_b2: variance of their biases, likewise.
        sigma_back2: fan_out Var(w), for the gradient; sigma_w2 if left out (equal widths).
        q0: second moment of the first pre-activation, > 0.
        c0: correlation of the two inputs there, in [-1, 1].
        name: what to call the curves.

    Returns:
        `SignalCurves`. A signal below 1e-280 is given as 0 from there on.

    Accuracy:
        infinite width: a real network of width n differs by the spread that `finite_width` gives
            (tests/theory/test_networks.py). Where all layers have the same variances, layers beyond the first ones are
            interpolated between some that are computed: ln q and ln (1 - c) within 1e-4
            (tests/theory/test_criticality.py).

    Source:
        Poole et al. 2016, arXiv 1606.05340, eqs. 3 and 5; Schoenholz et al. 2017, arXiv 1611.01232, eq. 13 for the
        gradient.

    Example:
        >>> curves = propagate("relu", depth=3, sigma_w2=1.0)
        >>> curves.q.tolist(), curves.gradient.tolist(), curves.c.round(6).tolist()
        ([1.0, 0.5, 0.25], [0.25, 0.5, 1.0], [0.0, 0.31831, 0.493731])
    """
    act = resolve(phi)
    if not 1 <= depth <= DEEPEST or not 0.0 < q0 < math.inf or not -1.0 <= c0 <= 1.0:
        raise TheoryError(
            f"depth must be from 1 to {DEEPEST:,}, q0 > 0 and c0 in [-1, 1]; got depth={depth!r}, q0={q0!r}, c0={c0!r}"
        )
    weights, biases = _per_layer(sigma_w2, depth - 1), _per_layer(sigma_b2, depth - 1)
    back = weights if sigma_back2 is None else _per_layer(sigma_back2, depth - 1)
    alike = np.ptp(weights) == 0.0 and np.ptp(biases) == 0.0 if depth > 1 else True
    if alike and depth > 1 and exact_law(act) is None:
        q, gap = follow(
            lambda q, gap: _step(act, q, gap, float(weights[0]), float(biases[0])), (q0, 1.0 - c0), layers=depth
        )
    else:
        q, gap = _layer_by_layer(act, (q0, 1.0 - c0), weights, biases)
    slopes = _slopes(act, q)
    chi = np.append(back, 1.0)[:depth] * slopes
    gradient = np.ones(depth)
    for layer in range(depth - 2, -1, -1):
        gradient[layer] = gradient[layer + 1] * chi[layer]
    return SignalCurves(name=name or str(act), q=q, gap=gap, gradient=gradient, chi_1=chi)


def _layer_by_layer(act: Activation, start: tuple[float, float], weights: Array, biases: Array) -> tuple[Array, Array]:
    states = [start]
    for sigma_w2, sigma_b2 in zip(weights, biases, strict=True):
        states.append(_step(act, *states[-1], float(sigma_w2), float(sigma_b2)))
    q, gap = np.array(states).T
    return q, gap


def _step(act: Activation, q: float, gap: float, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    if q < _UNDERFLOW:
        return sigma_b2, 0.0
    check_variances(sigma_w2, sigma_b2)
    law = _law(act, q)
    carried = sigma_w2 * (second_moment(law, q=q) if law is not None else gaussian_moments(act, q=q).second)
    following = carried + sigma_b2
    if not math.isfinite(following) or following > 1.0 / _UNDERFLOW:
        raise TheoryError(
            f"q overflows for {act} at sigma_w2 = {sigma_w2:g}: ask for fewer layers or a smaller variance"
        )
    if following < _UNDERFLOW:
        return following, 0.0
    if abs(following - q) <= _AT_REST * q:
        following = q  # a fixed point; rounding would let an unstable one drift away
    return following, _pair_gap(act, law, min(gap, 2.0), q, carried, sigma_w2) / following


def _pair_gap(act: Activation, law: PowerLaw | None, gap: float, q: float, carried: float, sigma_w2: float) -> float:
    """sigma_w2 E (f(u1) - f(u2))^2 / 2, in closed form for power laws, whose map of c does not depend on q."""
    if law is not None:
        return carried * gap_ratio(law, gap)
    return sigma_w2 * gap_in_one_pass(act, gap, q=q)


def _slopes(act: Activation, q: Array) -> Array:
    """E f'^2 at every q; of many layers some are computed, those between by interpolation in ln q."""
    chosen = np.unique(q[q > 0.0])
    if chosen.size > 2 * _KNOTS:
        chosen = chosen[np.unique(np.linspace(0, chosen.size - 1, _KNOTS).round().astype(int))]
    known = np.array([_slope(act, float(v)) for v in chosen])
    slopes = np.zeros(q.size)
    if chosen.size:
        slopes[q > 0.0] = np.interp(np.log(q[q > 0.0]), np.log(chosen), known)
    return slopes


def _law(act: Activation, q: float) -> PowerLaw | None:
    """The power law that the activation is, or that it is to a signal of this size."""
    always = exact_law(act)
    return always if always is not None or _ORDINARY[0] <= q <= _ORDINARY[1] else power_law(act, q=q)


def _slope(act: Activation, q: float) -> float:
    law = _law(act, q)
    return slope_moment(law, q=q) if law is not None else gaussian_moments(act, q=q).dsecond


def _per_layer(value: float | Sequence[float], count: int) -> Array:
    values = (
        np.broadcast_to(np.asarray(value, dtype=np.float64), (count,)) if np.ndim(value) == 0 else np.asarray(value)
    )
    if values.shape != (count,):
        raise TheoryError(f"one number or one per layer after the first ({count}), got {values.size}")
    return np.asarray(values, dtype=np.float64)


def propagate_law(
    phi: ActivationLike, law: str, *, widths: Sequence[int], q0: float = 1.0, c0: float = 0.0
) -> SignalCurves:
    """What a classic law does over depth: `propagate` with the variances that it gives layers of these widths.

    Args:
        phi: activation.
        law: a name of `CLASSIC_LAWS`.
        widths: units of each layer, first to last.
        q0: second moment of the first pre-activation.
        c0: correlation of the two inputs there.

    Example:
        >>> curves = propagate_law("relu", "glorot", widths=[512] * 4)
        >>> curves.q.tolist()  # 1/2 a layer
        [1.0, 0.5, 0.25, 0.125]
        >>> propagate_law("linear", "classic_uniform", widths=[64] * 3).q.round(6).tolist()  # 1/3 a layer
        [1.0, 0.333333, 0.111111]
    """
    chosen = classic_law(law)
    fans = list(pairwise(widths))
    return propagate(
        phi,
        depth=len(widths),
        sigma_w2=[chosen.sigma_w2(fan_in, fan_out) for fan_in, fan_out in fans],
        sigma_b2=[chosen.bias_var(fan_in, fan_out) for fan_in, fan_out in fans],
        sigma_back2=[fan_out * chosen.weight_var(fan_in, fan_out) for fan_in, fan_out in fans],
        q0=q0,
        c0=c0,
        name=law,
    )
