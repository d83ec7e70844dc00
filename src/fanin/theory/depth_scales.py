"""How many layers a signal and a gradient survive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.fixed_points import c_star, q_star
from fanin.theory.maps import chi_1, chi_c, chi_q

__all__ = ["DepthScales", "depth_scales", "layers"]

# |chi_1 - 1| below which a network is called critical: 1e9 layers deep
_CRITICAL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthScales:
    """Fixed points of a law, and the depths over which it forgets.

    Attributes:
        q_star: where q settles.
        c_star: where the correlation of two inputs settles.
        chi_1: slope of the c-map at 1, growth of the squared gradient per layer.
        chi_q: slope of the q-map at q*.
        chi_c: slope of the c-map at c*.
        xi_q: layers over which q reaches q*, -1 / ln chi_q.
        xi_c: layers over which c reaches c*, -1 / ln chi_c.
        xi_grad: layers over which a squared gradient changes by e, 1 / |ln chi_1|.
        trainable_depth: 6 xi_c, about how deep such a network can be trained.
        phase: ordered (gradients vanish), critical, or chaotic (they explode).
    """

    q_star: float
    c_star: float
    chi_1: float
    chi_q: float
    chi_c: float
    xi_q: float
    xi_c: float
    xi_grad: float
    trainable_depth: float
    phase: Literal["ordered", "critical", "chaotic"]


def layers(chi: float) -> float:
    """Depth scale of a slope: 1 / |ln chi|; infinite at 1, 0 at 0.

    Example:
        >>> round(layers(0.938636), 1)
        15.8
    """
    if chi <= 0.0:
        return 0.0
    return math.inf if chi == 1.0 else 1.0 / abs(math.log(chi))


def depth_scales(phi: ActivationLike, *, sigma_w2: float, sigma_b2: float = 0.0) -> DepthScales:
    """Fixed points, slopes and depth scales of (phi, sigma_w2, sigma_b2).

    Raises:
        TheoryError: q grows without bound.

    Accuracy:
        xi_c of tanh at sigma_b2 = 0.05, nine sigma_w2 from 1 to 4, within 1e-8 of mpmath
        (tests/theory/test_criticality.py).

    Source:
        Schoenholz et al. 2017, arXiv 1611.01232, eqs. 8 and 9; 6 xi_c is read off their figure 5.

    Example:
        >>> scales = depth_scales("tanh", sigma_w2=1.5, sigma_b2=0.05)
        >>> round(scales.xi_c, 1), scales.phase
        (15.8, 'ordered')
    """
    act = resolve(phi)
    q = q_star(act, sigma_w2=sigma_w2, sigma_b2=sigma_b2).value
    # a signal that dies out meets the function's slope at the origin
    at = q if q > 0.0 else 1e-12
    c = c_star(act, sigma_w2=sigma_w2, sigma_b2=sigma_b2, q=q).value
    first = chi_1(act, q=at, sigma_w2=sigma_w2)
    slope = first if c == 1.0 else chi_c(act, 1.0 - c, q=at, sigma_w2=sigma_w2)
    size = chi_q(act, q=at, sigma_w2=sigma_w2)
    return DepthScales(
        q_star=q,
        c_star=c,
        chi_1=first,
        chi_q=size,
        chi_c=slope,
        xi_q=layers(size),
        xi_c=layers(slope) if abs(slope - 1.0) > _CRITICAL else math.inf,
        xi_grad=layers(first) if abs(first - 1.0) > _CRITICAL else math.inf,
        trainable_depth=6.0 * layers(slope) if abs(slope - 1.0) > _CRITICAL else math.inf,
        phase="critical" if abs(first - 1.0) <= _CRITICAL else "ordered" if first < 1.0 else "chaotic",
    )
