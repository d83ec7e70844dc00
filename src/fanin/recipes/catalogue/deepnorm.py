"""``deepnorm``: post-norm transformers: Glorot with gain beta on v, o and the feed-forward maps."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Initializer, PerPart, VarianceScaling
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, num_branches, table_recipe

__all__ = ["DEEPNORM"]

_SOURCE = "Wang et al. 2022, arXiv 2203.00555, table 1"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Beta for values, outputs and feed-forward maps, 1 for queries, keys and all else."""
    beta, words = _beta(network, role)
    plain = VarianceScaling(gain=1.0, mode="fan_avg", law="normal")
    if beta == 1.0 or ({"attn_q", "attn_k"} & set(role.tags) and "attn_v" not in role.tags):
        return law(plain, role, rule="deepnorm", formula="sqrt(2 / (fan_in + fan_out))", source=_SOURCE)
    scaled = VarianceScaling(gain=beta, mode="fan_avg", law="normal")
    made: Initializer = scaled
    if len(role.parts) > 1:
        made = PerPart(tuple(scaled if "attn_v" in p.tag else plain for p in role.parts))
    return law(made, role, rule="deepnorm", formula=f"sqrt(2 / (fan_in + fan_out)) × {words}", source=_SOURCE)


def _beta(network: Network, role: ParameterRole) -> tuple[float, str]:
    if role.branch is None:
        return 1.0, ""
    decoders = [s for s in network.roles.streams if network.is_decoder(s.number)]
    if not decoders:
        layers = max(num_branches(role) / 2.0, 1.0)
        return (8.0 * layers) ** -0.25, f"(8 × {layers:g})^(-1/4)"
    m = max(decoders[0].num_branches / 3.0, 1.0)
    if network.is_decoder(role.branch.stream):
        return (12.0 * m) ** -0.25, f"(12 × {m:g})^(-1/4), decoder"
    n = max(num_branches(role) / 2.0, 1.0)
    return 0.87 * (n**4 * m) ** (-1.0 / 16.0), f"0.87 ({n:g}^4 × {m:g})^(-1/16), encoder"


def _notes(network: Network, options: NoOptions) -> tuple[str, ...]:
    return ("deepnorm also needs the model to multiply each skip connection by alpha = (2 N)^(1/4) for N layers",)


DEEPNORM = table_recipe(
    "deepnorm", "DeepNet's gains for post-norm transformers", {"weight": weight}, source=_SOURCE, notes=_notes
)
