"""Critical stacks: orthogonal maps for many layers of odd, saturating units."""

from __future__ import annotations

import math

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal, Orthogonal
from fanin.recipes.auto.evidence import CRITICAL_FROM, CRITICAL_SPREAD
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.inputs import input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.stack import Stack
from fanin.recipes.auto.wording import Number, draft, zero
from fanin.recipes.engine.activation_facts import is_bounded, is_odd, moments_of
from fanin.recipes.engine.draft import Draft

__all__ = ["critical", "critical_q", "is_deep_odd"]

_SMALLEST_Q = 1e-8


def is_deep_odd(stack: Stack) -> bool:
    """Whether it is a deep dense stack of an odd function that saturates, such as tanh."""
    deep = stack.is_dense and stack.num_hidden >= CRITICAL_FROM
    return deep and is_odd(stack.activation) and is_bounded(stack.activation) and _has_slope(stack.activation)


def _has_slope(activation: FoundActivation) -> bool:
    """Whether the slope has a second moment near 0: that of a signed square root has none."""
    m = moments_of(activation, _SMALLEST_Q)
    return m is None or math.isfinite(m.dsecond)


def critical(stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    """Orthogonal at the critical point where the squared singular values of the stack have a std of their mean."""
    q = critical_q(stack.activation, stack.num_hidden)
    first, *hidden, last = stack.maps
    inside = _hidden(stack, q)
    drafts = {first.name: _first(stack, first, q), **{role.name: inside for role in hidden}}
    return {**drafts, last.name: zero("zero head") if options.head == "zero" else _head(stack, last, q, options)}


def critical_q(activation: FoundActivation, depth: int) -> float:
    """The q* at which depth (E f'^4 / (E f'^2)^2 - 1) = 1.

    There the squared singular values of the stack's Jacobian have a standard deviation as large as their mean, 1. A
    larger q* loses directions, a smaller one leaves the stack more linear than it need be. For tanh and many layers
    about 1 / sqrt(8 depth).

    Source: Pennington et al. 2017, arXiv 1711.04735, eq. 22.

    Example:
        >>> import numpy as np
        >>> round(critical_q(FoundActivation("tanh", fn=np.tanh), 99), 3)
        0.042
    """
    low, high = _SMALLEST_Q, 1.0
    for _ in range(50):
        middle = math.sqrt(low * high)
        m = moments_of(activation, middle)
        if m is not None and depth * (m.dfourth / m.dsecond**2 - 1.0) < CRITICAL_SPREAD:
            low = middle
        else:
            high = middle
    return low


def _first(stack: Stack, role: ParameterRole, q: float) -> Draft:
    std = math.sqrt(q / (float(role.fan_in or 1.0) * input_scale(stack.input_moment)))
    return _draft(stack, q, (Number("std", std, "critical first"),), adds=("critical first",))


def _hidden(stack: Stack, q: float) -> Draft:
    moments = moments_of(stack.activation, q)
    gain = 1.0 / math.sqrt(moments.dsecond) if moments is not None else 1.0
    return _draft(stack, q, (Number("gain", gain, "critical"),))


def _head(stack: Stack, role: ParameterRole, q: float, options: AutoOptions) -> Draft:
    moments = moments_of(stack.activation, q)
    second = moments.second if moments is not None else q
    size = output_rms(options)
    std = size / math.sqrt(float(role.fan_in or 1.0) * second)
    numbers = (Number("f2", second), Number("std", std, "critical head"))
    return _draft(stack, q, numbers, adds=("critical head",), size=size)


def _draft(
    stack: Stack, q: float, numbers: tuple[Number, ...], *, adds: tuple[str, ...] = (), size: float = 1.0
) -> Draft:
    """A map of the stack: orthogonal where it has a gain, N(0, std²) where it has a std."""
    return draft(
        "critical",
        lambda read: (Number("q", q), *numbers),
        lambda values: Orthogonal(gain=values["gain"], scaled=True) if "gain" in values else Normal(std=values["std"]),
        reasons=("critical", *adds),
        evidence="tanh-deep",
        hidden=stack.num_hidden,
        activation=stack.activation.label,
        spread=CRITICAL_SPREAD,
        q=q,
        size=size,
    )
