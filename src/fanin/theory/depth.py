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
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.closed_forms import arc_cosine_1_gap
from fanin.theory.laws import classic_law
from fanin.theory.maps import check_variances, gap_map, q_map
from fanin.theory.moments import gaussian_moments

__all__ = ["SignalCurves", "propagate", "propagate_law"]

_UNDERFLOW = 1e-280


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
            (tests/theory/test_networks.py).

    Source:
        Poole et al. 2016, arXiv 1606.05340, eqs. 3 and 5; Schoenholz et al. 2017, arXiv 1611.01232, eq. 13 for the
        gradient.

    Example:
        >>> curves = propagate("relu", depth=3, sigma_w2=1.0)
        >>> curves.q.tolist(), curves.gradient.tolist(), curves.c.round(6).tolist()
        ([1.0, 0.5, 0.25], [0.25, 0.5, 1.0], [0.0, 0.31831, 0.493731])
    """
    act = resolve(phi)
    if depth < 1 or q0 <= 0.0 or not -1.0 <= c0 <= 1.0:
        raise TheoryError(f"depth must be >= 1, q0 > 0 and c0 in [-1, 1], got depth={depth!r}, q0={q0!r}, c0={c0!r}")
    weights, biases = _per_layer(sigma_w2, depth - 1), _per_layer(sigma_b2, depth - 1)
    back = weights if sigma_back2 is None else _per_layer(sigma_back2, depth - 1)
    q, gap = np.zeros(depth), np.zeros(depth)
    q[0], gap[0] = q0, 1.0 - c0
    for layer in range(depth - 1):
        q[layer + 1], gap[layer + 1] = _step(act, q[layer], gap[layer], weights[layer], biases[layer])
    slopes = np.array([gaussian_moments(act, q=v).dsecond if v > 0.0 else 0.0 for v in q])
    chi = np.append(back, 1.0)[:depth] * slopes
    gradient = np.ones(depth)
    for layer in range(depth - 2, -1, -1):
        gradient[layer] = gradient[layer + 1] * chi[layer]
    return SignalCurves(name=name or str(act), q=q, gap=gap, gradient=gradient, chi_1=chi)


def _step(act: Activation, q: float, gap: float, sigma_w2: float, sigma_b2: float) -> tuple[float, float]:
    if q < _UNDERFLOW:
        return sigma_b2, 0.0
    check_variances(sigma_w2, sigma_b2)
    following = q_map(act, q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
    if not math.isfinite(following) or following > 1.0 / _UNDERFLOW:
        raise TheoryError(
            f"q overflows for {act} at sigma_w2 = {sigma_w2:g}: ask for fewer layers or a smaller variance"
        )
    if act.name == "relu" and act.identity is None:  # homogeneous: the map of c knows no q
        return following, sigma_w2 * 0.5 * q * arc_cosine_1_gap(gap) / following
    return following, gap_map(act, min(gap, 2.0), q=q, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


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
