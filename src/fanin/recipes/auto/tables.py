"""Embedding tables: of unit size, or shared with the head."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal
from fanin.recipes.auto.evidence import CALM_RMS, TIED_SHARE
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft, Made, Read
from fanin.recipes.engine.network import Network
from fanin.recipes.step import Step

__all__ = ["embedding", "is_tied"]


def is_tied(role: ParameterRole) -> bool:
    """Whether a table is also the map to the logits."""
    return "head" in role.tags


def embedding(network: Network, role: ParameterRole, options: AutoOptions) -> Draft:
    """Std 1 with a head of its own; tied, what keeps the logits small."""
    if is_tied(role):
        return _tied(role, options)
    bag = role.layout.bag if role.layout.lookup else 1

    def make(read: Read) -> Made:
        std = 1.0 / math.sqrt(bag)
        formula = "rows of unit size" if bag == 1 else f"1 / sqrt({bag}) for {bag} rows summed"
        return Made(law=Normal(std=std), steps=(Step(quantity="std", value=std, formula=formula),))

    reason = "a table with a head of its own: std 1, so the residual stream starts at unit size"
    return Draft(rule="embedding", reason=reason, make=make, evidence="embedding-untied")


def _tied(role: ParameterRole, options: AutoOptions) -> Draft:
    rows, width = role.shape[0], role.shape[1]
    least = 1.0 if any("rnn" in u.feeds for u in role.uses) else 0.0  # a recurrent state is small by nature

    def make(read: Read) -> Made:
        size = math.sqrt(max(least, read.second_moment))
        unit = 1.0 / (math.sqrt(width) * size)
        share = CALM_RMS if options.head != "unit" else TIED_SHARE
        own = math.sqrt(2.0) * math.log(max(rows, 2)) / (width * size)
        std = min(share * unit, own)
        steps = (
            read.step(),
            Step(quantity="logit std 1 at", value=unit, formula="1 / sqrt(d E x²)"),
            Step(
                quantity="own-token limit",
                value=own,
                formula="sqrt(2) ln V / (d rms(x)): the row that was read meets itself at the head with a logit of "
                "about "
                "d rms(x) std / sqrt(2), which must stay below ln V",
            ),
            Step(quantity="std", value=std, formula=f"min({share:g} / sqrt(d E x²), own-token limit)"),
        )
        return Made(law=Normal(std=std), steps=steps)

    reason = "a table that is also the head: small enough for an initial loss near ln V, never std 1"
    return Draft(rule="tied embedding", reason=reason, make=make, evidence="embedding-tied")
