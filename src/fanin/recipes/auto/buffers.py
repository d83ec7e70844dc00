"""Flat parameters that hold several weights one after the other: each weight gets its own std."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole, Piece
from fanin.initializers import Initializer, Normal, PerPart, Zeros
from fanin.recipes.auto.inputs import input_moment, input_scale
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, draft
from fanin.recipes.engine.activation_facts import moments_of
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["flat_buffer"]


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
    use = role.uses[piece.use]
    if set(use.feeds) == {"input"}:
        second = input_scale(input_moment(network, role))
    else:
        feed = moments_of(use.feed) if use.feed is not None else None
        second = feed.second if feed is not None and feed.second > 0.0 else 1.0
    return Normal(std=1.0 / math.sqrt(piece.fan_in * second))
