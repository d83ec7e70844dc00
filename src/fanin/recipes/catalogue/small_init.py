"""``small_init``: sqrt(2 / (5 d)) everywhere, 2 / (L sqrt(d)) into the residual stream ("wang"), as in GPT-NeoX."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, num_branches, table_recipe, writes

__all__ = ["SMALL_INIT"]

_SMALL = "Nguyen and Salazar 2019, arXiv 1910.05895, section 2.2"
_WANG = "Wang and Komatsuzaki 2021 (GPT-J); Black et al. 2022, arXiv 2204.06745, section 2.1"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """sqrt(2 / (5 d)) for width d; 2 / (L sqrt(d)) for the last map of a branch."""
    d = network.width
    if not writes(role):
        return law(
            Normal(std=math.sqrt(2.0 / (5.0 * d))),
            role,
            rule="small init",
            formula=f"sqrt(2 / (5 × {d}))",
            source=_SMALL,
        )
    layers = max(num_branches(role) / 2.0, 1.0)
    made = Normal(std=2.0 / (layers * math.sqrt(d)))
    return law(
        made, role, rule="wang", formula=f"2 / ({layers:g} sqrt({d})), {layers:g} layers of two branches", source=_WANG
    )


SMALL_INIT = table_recipe(
    "small_init",
    "sqrt(2 / (5 d)), residual maps 2 / (L sqrt(d))",
    {"weight": weight, "embedding": weight, "position": weight},
    source=_SMALL,
)
