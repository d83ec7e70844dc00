"""Parameters that are more or less than one weight: flat ones that hold several, and factors of a product."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole, Piece, Use
from fanin.initializers import Initializer, Normal, Orthogonal, PerPart, Zeros
from fanin.recipes.auto.inputs import input_moment, input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.activation_facts import moments_of
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["factor", "flat_buffer"]

_MATRIX = 2  # axes of a matrix


def flat_buffer(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """N(0, 1 / (fan_in E x²)) for each weight inside, zero for what lies between them; None for any other parameter."""
    if not role.pieces:
        return None
    laws = tuple(_law(network, role, piece) for piece in role.pieces)
    weights = sum(piece.use is not None for piece in role.pieces)
    return draft(
        "flat buffer", lambda read: (Number("weights", weights),), lambda values: PerPart(laws), weights=weights
    )


def _law(network: Network, role: ParameterRole, piece: Piece) -> Initializer:
    if piece.use is None:
        return Zeros()
    return Normal(std=1.0 / math.sqrt(piece.fan_in * unit_moment(network, role, role.uses[piece.use])))


def factor(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A factor of a product of several parameters (a tensor train): all factors share the std of the product."""
    found, use = role.product, role.use
    if found is None or use is None:
        return None
    second = unit_moment(network, role, use)
    var = 1.0 / (found.fan_in * second)
    std = (var / found.paths) ** (0.5 / found.factors)
    numbers: tuple[Number, ...] = (Number("var", var, "product"), Number("std", std, "factors"))
    outer = found.paths == 1 and len(role.shape) == _MATRIX
    if outer:  # the Kronecker product of orthogonal matrices is one
        numbers = (*numbers, Number("gain", std * math.sqrt(role.shape[1]), "factor"))
    return draft(
        "factor",
        lambda read: numbers,
        (lambda values: Orthogonal(gain=values["gain"], scaled=True))
        if outer
        else (lambda values: Normal(std=values["std"])),
        reasons=("factor", "orthogonal factor") if outer else ("factor",),
        evidence="outer-factors" if outer else "",
        factors=found.factors,
        paths=found.paths,
        terms=found.fan_in,
    )


def unit_moment(network: Network, role: ParameterRole, use: Use) -> float:
    """E x² of what a use reads, for pre-activations of variance 1; of the given input where it reads that."""
    if set(use.feeds) == {"input"}:
        return input_scale(input_moment(network, role))
    feed = moments_of(use.feed) if use.feed is not None else None
    return feed.second if feed is not None and feed.second > 0.0 else 1.0
