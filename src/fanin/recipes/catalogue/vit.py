"""``vit``: Glorot uniform maps, MLP biases N(0, 1e-6²), LeCun patches, positions of 0.02, a zero head."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Normal, Zeros, glorot_uniform, lecun_normal
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, is_head, law, table_recipe

__all__ = ["VIT"]

_SOURCE = "Dosovitskiy et al. 2021, arXiv 2010.11929, and its published JAX code"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """LeCun for the patches, zero for the output layer, Glorot for all others."""
    if is_head(role):
        return fixed(Zeros(), rule="vit head", reason="output layer, zero: the loss starts at exactly ln C")
    if set(role.feeds) == {"input"}:
        return law(lecun_normal(), role, rule="vit patches", formula="1 / sqrt(fan_in)", source=_SOURCE)
    return law(glorot_uniform(), role, rule="vit", formula="sqrt(2 / (fan_in + fan_out)), per part", source=_SOURCE)


def bias(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """N(0, 1e-6²) for the biases of an MLP, zero for all others."""
    owner = network.roles.parameters.get(role.owner)
    if (
        owner is not None
        and ("act" in owner.tags or any(f.startswith("act:") for f in owner.feeds))
        and not is_head(owner)
    ):
        return law(Normal(std=1e-6), role, rule="vit bias", formula="1e-6", source=_SOURCE)
    return fixed(Zeros(), rule="bias", reason="biases start at zero")


VIT = table_recipe(
    "vit", "ViT's JAX start: Glorot uniform, output layer zero", {"weight": weight, "bias": bias}, source=_SOURCE
)
