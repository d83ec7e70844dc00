"""``gpt2``: N(0, 0.02²) everywhere, the last map of each residual branch divided by sqrt of the number of branches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import law, num_branches, table_recipe, writes

__all__ = ["GPT2", "GPT2Options"]

_SOURCE = "Radford et al. 2019 (GPT-2), section 2.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class GPT2Options:
    """Options of ``gpt2``.

    Attributes:
        std: of every map and table; 0.02 is meant for a width of 768, where it is 0.554 / sqrt(d).
    """

    std: float = 0.02


def weight(network: Network, role: ParameterRole, options: GPT2Options) -> Draft:
    """0.02, or 0.02 / sqrt(N) into a stream of N branches."""
    if not writes(role):
        return law(Normal(std=options.std), role, rule="gpt2", formula=f"{options.std:g}", source=_SOURCE)
    n = num_branches(role)
    made = Normal(std=options.std / math.sqrt(n))
    return law(
        made, role, rule="gpt2 residual", formula=f"{options.std:g} / sqrt({n}), {n} residual branches", source=_SOURCE
    )


GPT2 = table_recipe(
    "gpt2",
    "N(0, 0.02²), residual maps 0.02 / sqrt(2L)",
    {"weight": weight, "embedding": weight, "position": weight, "token": weight},
    options=GPT2Options,
    source=_SOURCE,
)
