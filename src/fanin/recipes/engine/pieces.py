"""Flat parameters that hold several weights: a rule for one weight is asked for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fanin.graph.roles.data import ParameterRole, Piece
from fanin.initializers import Initializer, Normal, PerPart, Zeros
from fanin.layout import fans
from fanin.recipes.engine.draft import Draft, Read, fixed

__all__ = ["by_pieces"]


def by_pieces(role: ParameterRole, rule: Callable[[ParameterRole], Draft | None]) -> Draft | None:
    """A normal law for each weight inside, with the std that the rule gives a weight of its own; zeros between them.

    None where the rule has no law for one of them.
    """
    laws = [_law(role, piece, rule) for piece in role.pieces]
    known = tuple(law for law in laws if law is not None)
    if not known or len(known) < len(laws):
        return None
    reason = "flat parameter with weights one after the other: each has the std that the recipe gives such a weight"
    return fixed(PerPart(known), rule="flat buffer", reason=reason)


def _law(role: ParameterRole, piece: Piece, rule: Callable[[ParameterRole], Draft | None]) -> Initializer | None:
    if piece.use is None or piece.layout is None:
        return Zeros()
    shape = (piece.size,)
    counted = fans(shape, piece.layout)
    one = replace(
        role,
        shape=shape,
        layout=piece.layout,
        fan_in=counted.fan_in,
        fan_out=counted.fan_out,
        uses=(role.uses[piece.use],),
        pieces=(),
    )
    found = rule(one)
    law = None if found is None else found.make(Read()).law
    return None if law is None else Normal(std=law.std_for(shape, piece.layout), mean=law.mean_for(shape, piece.layout))
