"""Sharp activations: where keeping the variance makes a network chaotic, the scale comes from chi_1 instead.

At pre-activations of variance q, a map that keeps q has sigma_w² = q / E f², and multiplies the distance of two close
inputs by chi_1 = sigma_w² E f'². For sin(3 x), tanh(5 x) or x exp(-x²) at q = 1 that is 3 to 20 a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import SHARP_CHI
from fanin.recipes.auto.maps import as_orthogonal, forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.activation_facts import moments_of
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["SMOOTH_CHI", "calm_scale", "calm_variance", "chi_1", "is_sharp", "sharp"]

SMOOTH_CHI = 1.5  # chi_1 at q = 1 up to which an activation is left to the forward rule; 1.3 for tanh and the sine
_LEAST = 1e-3  # variance of pre-activations below which none is looked for
_STEPS = 60


def chi_1(activation: FoundActivation, q: float = 1.0) -> float | None:
    """sigma_w² E f'(z)², z ~ N(0, q), where sigma_w² = q / E f(z)² keeps q; None where f has no moments.

    Source: Poole et al. 2016, arXiv 1606.05340, eq. 5; Schoenholz et al. 2017, arXiv 1611.01232.

    Example:
        >>> import numpy as np
        >>> round(chi_1(FoundActivation("relu", fn=lambda x: np.maximum(x, 0.0))), 6)
        1.0
    """
    m = moments_of(activation, q)
    if m is None or not m.second > 0.0 or not math.isfinite(m.dsecond):
        return None
    return q * m.dsecond / m.second


@lru_cache(maxsize=256)
def calm_variance(activation: FoundActivation, depth: int) -> float:
    """The largest q <= 1 at which chi_1 to the power of the depth is at most 2; the q of least chi_1 where none is.

    Example:
        >>> import numpy as np
        >>> sine = FoundActivation("sin", fn=np.sin)
        >>> calm_variance(sine, 2) > calm_variance(sine, 10)
        True
    """
    return calm_scale(lambda q: chi_1(activation, q), depth)


def calm_scale(chi: Callable[[float], float | None], depth: int) -> float:
    """The largest q <= 1 at which chi(q) to the power of the depth is at most 2; the q of least chi where none is."""
    limit = SHARP_CHI ** (1.0 / depth)
    known: list[tuple[float, float]] = []
    for i in range(_STEPS + 1):
        q = float(_LEAST ** (i / _STEPS))
        if (found := chi(q)) is None:
            continue
        if found <= limit:
            return q
        known.append((found, q))
    return min(known, default=(1.0, 1.0))[1]


def sharp(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map before an activation that is chaotic at variance 1: pre-activations of the variance that is not."""
    use = role.use
    if use is None or use.activation is None or use.norm_after or use.branch is not None or len(role.uses) > 1:
        return None
    if not {"act", "act+gate"} & set(use.tags) or not is_sharp(use.activation):
        return None
    depth = sum(_feeds(other, use.activation) for other in network.roles.parameters.values())
    q = calm_variance(use.activation, max(depth, 1))
    return forward(
        network,
        role,
        options,
        factor=math.sqrt(q),
        how="chi",
        adds=("sharp",),
        rule="sharp",
        evidence="sharp",
        activation=use.activation.label,
        q=q,
        layers=depth,
        chi=chi_1(use.activation) or 1.0,
        **(as_orthogonal(role) if _is_inner(role) else {}),
    )


def _is_inner(role: ParameterRole) -> bool:
    """Whether it is a dense map that does not read the input: there orthogonal trained better than independent."""
    return "input" not in role.feeds and not role.layout.tap_axes and role.layout.groups == 1


def is_sharp(activation: FoundActivation) -> bool:
    """Whether keeping the variance 1 before it lets small differences grow clearly faster than smooth functions do."""
    chi = None if activation.is_guess else chi_1(activation)
    return chi is not None and chi > SMOOTH_CHI


def _feeds(role: ParameterRole, activation: FoundActivation) -> bool:
    return role.use is not None and role.use.activation is not None and role.use.activation.label == activation.label
