"""``t_fixup``: transformers without norm or warm-up: Glorot, with v, o and both feed-forward maps scaled by depth."""

from __future__ import annotations

import math

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, Normal, PerPart, VarianceScaling
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, num_branches, table_recipe

__all__ = ["T_FIXUP"]

_SOURCE = "Huang, Perez, Ba, Volkovs 2020 (ICML), section 3.2, and its published code"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Glorot's law; for values, outputs and feed-forward maps times a factor of the depth."""
    plain = _glorot(1.0)
    factor, words = _depth(network, role)
    if factor == 1.0 or ({"attn_q", "attn_k"} & set(role.tags) and "attn_v" not in role.tags):
        return law(plain, role, rule="t-fixup", formula="sqrt(2 / (fan_in + fan_out))", source=_SOURCE)
    scaled = _glorot(factor * (math.sqrt(2.0) if "attn_v" in role.tags else 1.0))
    made: Initializer = scaled
    if len(role.parts) > 1:
        made = PerPart(tuple(scaled if "attn_v" in p.tag else plain for p in role.parts))
    return law(made, role, rule="t-fixup", formula=f"sqrt(2 / (fan_in + fan_out)) × {words}", source=_SOURCE)


def _glorot(gain: float) -> VarianceScaling:
    return VarianceScaling(gain=gain, mode="fan_avg", law="uniform")


def _depth(network: Network, role: ParameterRole) -> tuple[float, str]:
    if role.branch is None:
        return 1.0, ""
    if network.is_decoder(role.branch.stream):
        layers = max(num_branches(role) / 3.0, 1.0)
        return (9.0 * layers) ** -0.25, f"(9 × {layers:g})^(-1/4), decoder layers"
    layers = max(num_branches(role) / 2.0, 1.0)
    return 0.67 * layers**-0.25, f"0.67 × {layers:g}^(-1/4), layers"


def table(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Tables: 1 / sqrt(d), by depth too."""
    layers = max((s.num_branches for s in network.roles.streams), default=2) / 2.0
    std = role.shape[-1] ** -0.5 * (9.0 * layers) ** -0.25
    return law(
        Normal(std=std), role, rule="t-fixup table", formula=f"1 / sqrt(d) × (9 × {layers:g})^(-1/4)", source=_SOURCE
    )


T_FIXUP = table_recipe(
    "t_fixup",
    "transformers without norm or warm-up",
    {"weight": weight, "embedding": table, "position": table},
    source=_SOURCE,
)
