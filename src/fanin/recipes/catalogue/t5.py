"""``t5``: q by 1 / sqrt(d d_head), all else by 1 / sqrt(fan_in), tables of std 1; scores are not divided."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, Normal, PerPart
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import law, table_recipe

__all__ = ["T5", "T5Options"]

_SOURCE = "Raffel et al. 2020, arXiv 1910.10683, and Shazeer and Stern 2018, arXiv 1804.04235; the published Mesh code"


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Options:
    """Options of ``t5``.

    Attributes:
        factor: multiplies every std.
        head_dim: width of one attention head; None reads it off the graph.
    """

    factor: float = 1.0
    head_dim: int | None = None


def weight(network: Network, role: ParameterRole, options: T5Options) -> Draft:
    """1 / sqrt(fan_in), a further 1 / sqrt(d_head) for queries."""
    fan_in = float(role.fan_in or 1.0)
    plain = Normal(std=options.factor / math.sqrt(fan_in))
    if "attn_q" not in role.tags:
        return law(plain, role, rule="t5", formula=f"{options.factor:g} / sqrt(fan_in)", source=_SOURCE)
    head = options.head_dim or network.head_dim or 64
    query = Normal(std=options.factor / math.sqrt(fan_in * head))
    made: Initializer = query
    if len(role.parts) > 1:
        made = PerPart(tuple(query if "attn_q" in p.tag else plain for p in role.parts))
    return law(
        made, role, rule="t5 query", formula=f"{options.factor:g} / sqrt(fan_in × {head}) for queries", source=_SOURCE
    )


def table(network: Network, role: ParameterRole, options: T5Options) -> Draft:
    """Token tables."""
    return law(Normal(std=options.factor), role, rule="t5 table", formula=f"{options.factor:g}", source=_SOURCE)


def position(network: Network, role: ParameterRole, options: T5Options) -> Draft:
    """Relative position biases."""
    std = options.factor / math.sqrt(network.width)
    return law(Normal(std=std), role, rule="t5 position", formula=f"{options.factor:g} / sqrt(d)", source=_SOURCE)


T5 = table_recipe(
    "t5",
    "T5's: queries 1 / sqrt(d d_head), the rest 1 / sqrt(fan_in), tables 1",
    {"weight": weight, "embedding": table, "position": position},
    options=T5Options,
    source=_SOURCE,
)
