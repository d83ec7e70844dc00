"""Centred stacks: rows of weights that sum to zero remove the mean that all samples share."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Centred, Normal
from fanin.recipes.auto.evidence import CENTRED_CHI, CENTRED_SHARE
from fanin.recipes.auto.heads import output_rms
from fanin.recipes.auto.inputs import input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.stack import Stack
from fanin.recipes.auto.wording import Number, draft, zero
from fanin.recipes.engine.activation_facts import bend, mirror_slope, moments_of
from fanin.recipes.engine.draft import Draft, Read

__all__ = ["centred", "wants_centring"]


def wants_centring(stack: Stack) -> bool:
    """Whether the activation has a large mean, and gradients keep their size once it is removed.

    f(a x) is asked at inputs of 1 / a: a logistic function of 8 x is one of x with weights that are 8 times larger.
    """
    m = moments_of(stack.activation, 1.0 / stack.activation.inner**2)
    if m is None or m.var <= 0.0 or mirror_slope(stack.activation) is not None:
        return False
    chi = m.dsecond / (m.var * stack.activation.inner**2)
    return m.mean**2 / m.second >= CENTRED_SHARE and chi <= CENTRED_CHI


def centred(stack: Stack, options: AutoOptions) -> dict[str, Draft]:
    """Pre-activations with the rms at which the activation saturates, from rows that sum to zero."""
    width = bend(stack.activation)
    first, *rest = stack.maps
    drafts = {role.name: _draft(stack, role, width, options) for role in rest}
    return {first.name: _first(stack, first, width), **drafts}


def _first(stack: Stack, role: ParameterRole, width: float) -> Draft:
    std = width / math.sqrt(float(role.fan_in or 1.0) * input_scale(stack.input_moment))
    return draft(
        "centred",
        lambda read: (Number("bend", width), Number("std", std, "centred first")),
        reasons=("centred first",),
        evidence="centred",
        activation=stack.activation.label,
        width=width,
    )


def _draft(stack: Stack, role: ParameterRole, width: float, options: AutoOptions) -> Draft:
    is_head = role is stack.maps[-1]
    if is_head and options.head == "zero":
        return zero("zero head")
    fan_in = float(role.fan_in or 1.0)
    moments = moments_of(stack.activation, width**2)
    target = Number("size", output_rms(options), "centred") if is_head else Number("bend", width)

    def numbers(read: Read) -> tuple[Number, ...]:
        spread = moments.var if moments is not None else 1.0
        if read.known and read.second_moment > read.mean**2:
            spread = read.second_moment - read.mean**2
        std = target.value / math.sqrt(fan_in * spread)
        return (
            Number("second", read.second_moment),
            Number("spread", spread),
            target,
            Number("std", std, "centred head" if is_head else "centred"),
        )

    return draft(
        "centred",
        numbers,
        lambda values: Centred(Normal(std=values["std"])),
        evidence="centred",
        var=lambda read, values: target.value**2 / (fan_in * read.second_moment),
        activation=stack.activation.label,
    )
