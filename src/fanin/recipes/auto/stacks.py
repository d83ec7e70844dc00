"""Which start a plain stack gets: mirrored pairs, shaped, centred, critical or plain orthogonal maps, or none of these.

In a plain stack the start decides whether a deep network trains at all, and whole layers can be matched to each
other. A stack that fits none of the starts is left to the forward rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fanin.initializers import Orthogonal
from fanin.recipes.auto.centred import centred, wants_centring
from fanin.recipes.auto.critical import critical, is_deep_odd
from fanin.recipes.auto.evidence import MIRROR_FROM, ORTHOGONAL_FROM
from fanin.recipes.auto.mirrored import cannot_mirror, head_is_apart, mirrored
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.shaped import shaped
from fanin.recipes.auto.sharp import grows
from fanin.recipes.auto.siren import is_siren
from fanin.recipes.auto.stack import Stack, stack_of
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, mirror_slope, moments_of
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["stack_drafts"]


def stack_drafts(network: Network, options: AutoOptions) -> tuple[Mapping[str, Draft], tuple[str, ...]]:
    """Drafts for the maps of a plain stack, and notes for the reader; no drafts where the forward rule is right."""
    stack = stack_of(network)
    if stack is None or is_siren(stack.activation) or grows(stack.activation):
        return {}, ()
    slope = mirror_slope(stack.activation)
    if slope is not None and options.mirrored and stack.num_hidden >= MIRROR_FROM:
        why_not = cannot_mirror(network, stack)
        if not why_not:
            return _mirrored(network, stack, slope, options), ()
        note = f"this plain stack of {stack.num_hidden} {stack.activation.label} layers cannot be mirrored: {why_not}"
        return shaped(network, stack, options, is_centred=False) or _orthogonal(stack), (note,)
    if shapes := shaped(network, stack, options, is_centred=wants_centring(stack)):
        return shapes, ()
    for applies, make in _FAMILIES:
        if applies(stack):
            return make(stack, options), ()
    return _orthogonal(stack), ()


def _mirrored(network: Network, stack: Stack, slope: float, options: AutoOptions) -> dict[str, Draft]:
    """Mirrored maps; without the output layer where that cannot tell pairs apart."""
    left_out = {stack.maps[-1].name} if head_is_apart(network, stack) else set()
    return {name: draft for name, draft in mirrored(stack, slope, options).items() if name not in left_out}


_FAMILIES: tuple[tuple[Callable[[Stack], bool], Callable[[Stack, AutoOptions], dict[str, Draft]]], ...] = (
    (wants_centring, centred),
    (is_deep_odd, critical),
)


def _orthogonal(stack: Stack) -> dict[str, Draft]:
    """Dense hidden maps, orthogonal at the backward gain; {} where that gains nothing.

    Where a pair of mirrored units would be linear (ReLU and similar functions), the gain is the geometric mean of the
    forward and the backward one.
    """
    moments = moments_of(stack.activation)
    if not stack.is_dense or stack.num_hidden < ORTHOGONAL_FROM or moments is None:
        return {}
    if (is_odd(stack.activation) and is_bounded(stack.activation)) or min(moments.second, moments.dsecond) <= 0.0:
        return {}
    if not math.isfinite(moments.dsecond):
        return {}
    pairs = mirror_slope(stack.activation) is not None
    gain = (moments.second * moments.dsecond) ** -0.25 if pairs else moments.dsecond**-0.5
    numbers = (
        Number("forward gain", moments.second**-0.5),
        Number("backward gain", moments.dsecond**-0.5),
        Number("gain", gain, "geometric mean" if pairs else "backward"),
    )
    one = draft(
        "orthogonal",
        lambda read: numbers,
        lambda values: Orthogonal(gain=values["gain"], scaled=True),
        evidence="orthogonal" if math.isclose(moments.second, moments.dsecond) else "gelu-gain",
        hidden=stack.num_hidden,
        activation=stack.activation.label,
    )
    return {role.name: one for role in stack.maps[1:-1]}
