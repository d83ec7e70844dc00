"""``fixup``: residual networks without norm: He times L^(-1/(2m - 2)), zero last maps, a zero head."""

from __future__ import annotations

import math

from fanin.errors import PlanError
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import VarianceScaling, Zeros
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, is_head, law, num_branches, table_recipe, writes

__all__ = ["FIXUP"]

_SOURCE = "Zhang, Dauphin, Ma 2019, arXiv 1901.09321, section 3"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """He's law times the depth factor; zero for the last map of a branch and for the output layer."""
    if is_head(role):
        return fixed(Zeros(), rule="fixup head", reason="output layer, zero: the loss starts at ln C")
    if writes(role):
        _refuse_deadlock(network, role)
        return fixed(
            Zeros(), rule="fixup last", reason="last map of its branch, zero: at step 0 the branch adds nothing"
        )
    m = role.branch.num_maps if role.branch is not None else 1
    n = num_branches(role)
    factor = n ** (-1.0 / (2 * m - 2)) if m > 1 else 1.0
    made = VarianceScaling(gain=math.sqrt(2.0) * factor, mode="fan_out", law="normal")
    formula = f"sqrt(2 / fan_out) × {n}^(-1/{2 * m - 2})" if m > 1 else "sqrt(2 / fan_out)"
    return law(made, role, rule="fixup", formula=formula, source=_SOURCE)


def _refuse_deadlock(network: Network, role: ParameterRole) -> None:
    scale = role.branch.layer_scale if role.branch is not None else ""
    live = network.live(scale) if scale else None
    if live is not None and not live.any():
        raise PlanError(
            f"{role.name!r} would be zero, and {scale!r}, which scales the same branch, is zero already: the product "
            "of two zeros has no gradient and never trains. Set the scale to one (overrides={'" + scale + "': 'ones'}) "
            "or choose another recipe."
        )


def _notes(network: Network, options: NoOptions) -> tuple[str, ...]:
    if any(r.role == "norm_scale" for r in network.roles.parameters.values()):
        return ("fixup is made for residual networks without norm layers, and this network has norm layers",)
    return ()


FIXUP = table_recipe(
    "fixup",
    "residual nets without norm: depth factor, zero last maps",
    {"weight": weight},
    source=_SOURCE,
    notes=_notes,
)
