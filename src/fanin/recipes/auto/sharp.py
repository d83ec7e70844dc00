"""Activations that are calm only near zero: there the scale comes from their slope and not from the variance 1.

At pre-activations of variance q, a map that keeps q has sigma_w² = q / E f², and multiplies the distance of two close
inputs by chi_1 = sigma_w² E f'². For sin(3 x), tanh(5 x) or x exp(-x²) at q = 1 that is 3 to 20 a layer. Functions that
are linear near zero and a power far from it (x + x³, sinh) enlarge differences of size there: a sample of twice the q
of others has 2^s times their q a layer later, s = d ln E f² / d ln q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto.evidence import NEAR_ZERO, POWER, SHARP_CHI, SIZE_GROWTH
from fanin.recipes.auto.maps import as_orthogonal, forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import reason
from fanin.recipes.engine.activation_facts import moments_of, size_slope
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network

__all__ = ["SMOOTH_CHI", "calm_scale", "calm_variance", "chi_1", "field", "field_bias", "grows", "is_sharp", "sharp"]

SMOOTH_CHI = 1.5  # chi_1 at q = 1 up to which an activation is left to the forward rule; 1.3 for tanh and the sine
_LEAST = 1e-3  # variance of pre-activations below which none is looked for
_STEPS = 60
_LEAST_SLOPE = 0.5  # of a size near zero; 1 for a linear function, 0 for one that is constant there (exp, cos)


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


def calm_scale(chi: Callable[[float], float | None], depth: int, limit: float = SHARP_CHI) -> float:
    """The largest q <= 1 with chi(q) to the power of the depth at most `limit`; the q of least chi where none has."""
    each = limit ** (1.0 / depth)
    known: list[tuple[float, float]] = []
    for i in range(_STEPS + 1):
        q = float(_LEAST ** (i / _STEPS))
        if (found := chi(q)) is None:
            continue
        if found <= each:
            return q
        known.append((found, q))
    return min(known, default=(1.0, 1.0))[1]


def field(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map before such a function that no input of the network reaches, in a field of coordinates that makes weights.

    There chaos has no price, and what the module drew is the bandwidth of the field: w f(xy) with w = 3 and 15 and
    torch's start trained to .594 and .146, with pre-activations of variance .2 to .717 and .248 (digits, AdamW, 150
    steps). Its bias stays too: without phases a field of sines is odd.
    """
    function = _function_of_field(network, role)
    if function is None:
        return None
    return fixed(None, rule="designed", reason=reason("bandwidth", function=function.label), action="keep")


def field_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The bias of such a map."""
    owner = network.roles.parameters.get(role.owner)
    if owner is None or _function_of_field(network, owner) is None:
        return None
    return fixed(None, rule="designed", reason=reason("phases", map=owner.name), action="keep")


def _function_of_field(network: Network, role: ParameterRole) -> FoundActivation | None:
    use = role.use
    if use is None or use.activation is None or use.norm_after or len(role.uses) > 1:
        return None
    alone = network.graph.ops[use.op].output in network.weight_only
    return use.activation if alone and (is_sharp(use.activation) or grows(use.activation)) else None


def sharp(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map before an activation that is chaotic at variance 1: pre-activations of the variance that is not."""
    use = role.use
    if use is None or use.activation is None or use.norm_after or use.branch is not None or len(role.uses) > 1:
        return None
    if not {"act", "act+gate"} & set(use.tags):
        return None
    if grows(use.activation):
        return _growing(network, role, use.activation, options)
    if not is_sharp(use.activation):
        return None
    depth = _depth(network, use.activation)
    q = calm_variance(use.activation, depth)
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


def _growing(network: Network, role: ParameterRole, activation: FoundActivation, options: AutoOptions) -> Draft:
    """A map before a function that is a power where its input is large: pre-activations of the size where it is not."""
    depth = _depth(network, activation)
    q = calm_scale(lambda q: size_slope(activation, q), depth, SIZE_GROWTH)
    return forward(
        network,
        role,
        options,
        factor=math.sqrt(q),
        how="size",
        adds=("growing",),
        rule="growing",
        evidence="growing",
        activation=activation.label,
        q=q,
        layers=depth,
        power=size_slope(activation),
        **(as_orthogonal(role) if _is_inner(role) else {}),
    )


def grows(activation: FoundActivation) -> bool:
    """Whether it enlarges differences of size at variance 1, and is linear near zero: x + x³, sinh, x (1 + x)."""
    if activation.is_guess:
        return False
    return size_slope(activation) >= POWER > size_slope(activation, NEAR_ZERO) > _LEAST_SLOPE


def _depth(network: Network, activation: FoundActivation) -> int:
    """Maps of the network that feed this function."""
    return max(1, sum(_feeds(other, activation) for other in network.roles.parameters.values()))


def _is_inner(role: ParameterRole) -> bool:
    """Whether it is a dense map that does not read the input: there orthogonal trained better than independent."""
    return "input" not in role.feeds and not role.layout.tap_axes and role.layout.groups == 1


def is_sharp(activation: FoundActivation) -> bool:
    """Whether keeping the variance 1 before it lets small differences grow clearly faster than smooth functions do."""
    chi = None if activation.is_guess else chi_1(activation)
    return chi is not None and chi > SMOOTH_CHI


def _feeds(role: ParameterRole, activation: FoundActivation) -> bool:
    return role.use is not None and role.use.activation is not None and role.use.activation.label == activation.label
