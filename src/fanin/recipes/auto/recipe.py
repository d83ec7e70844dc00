"""``auto``: the best known start for this network, on evidence.

Plain stacks are decided first, all layers together. Every other parameter goes through one table of rules, and the
first rule that answers decides. A rule returns named numbers, which become the steps and sentences of the plan. The
signal is then followed through the graph, and each std is computed from what the weight reads there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto import designed, maps, recurrent
from fanin.recipes.auto.branches import residual
from fanin.recipes.auto.buffers import factor, flat_buffer
from fanin.recipes.auto.distances import before_distances, written_centres
from fanin.recipes.auto.evidence import EVIDENCE, sentence
from fanin.recipes.auto.expanded import before_expansion, beside_map
from fanin.recipes.auto.exponents import exponent
from fanin.recipes.auto.film import modulating, modulating_bias
from fanin.recipes.auto.heads import before_outputs, head
from fanin.recipes.auto.inputs import input_warnings
from fanin.recipes.auto.made import made_weight
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.products import open_bias, open_factor
from fanin.recipes.auto.sharp import field, field_bias, sharp
from fanin.recipes.auto.siren import siren
from fanin.recipes.auto.small import SMALL
from fanin.recipes.auto.stacks import stack_drafts
from fanin.recipes.auto.summed import summed
from fanin.recipes.auto.tables import embedding
from fanin.recipes.auto.used import as_used
from fanin.recipes.base import Chosen, Live, Recipe
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network, network_of
from fanin.recipes.engine.place import place

__all__ = ["AUTO"]

_MapRule = Callable[[Network, ParameterRole, AutoOptions], "Draft | None"]

_MAP_RULES: tuple[_MapRule, ...] = (
    flat_buffer,
    factor,
    modulating,
    maps.adapter,
    maps.even,
    designed.sizeless,
    designed.with_sign,
    designed.identity,
    designed.signs,
    designed.constant_map,
    designed.adds_nothing,
    designed.before_constant,
    written_centres,
    siren,
    maps.looped,
    exponent,
    open_factor,
    made_weight,
    beside_map,
    before_distances,
    head,
    before_outputs,
    field,
    residual,
    sharp,
    before_expansion,
    summed,
    maps.entry,
    maps.forward,
)
_RULES: Mapping[str, _MapRule] = {
    **SMALL,
    "embedding": lambda n, r, o: modulating(n, r, o) or embedding(n, r, o),
    "bias": lambda n, r, o: (
        modulating_bias(n, r, o)
        or open_bias(n, r, o)
        or designed.constant_bias(n, r, o)
        or designed.spread_over(n, r, o)
        or field_bias(n, r, o)
        or SMALL["bias"](n, r, o)
    ),
    "norm_scale": lambda n, r, o: designed.share(n, r, o) or SMALL["norm_scale"](n, r, o),
    "rnn_ih": recurrent.input_weight,
    "rnn_hh": recurrent.hidden,
    "rnn_bias": recurrent.recurrent_bias,
    "norm_shift": lambda n, r, o: recurrent.norm_shift(n, r, o) or SMALL["norm_shift"](n, r, o),
}


def choose(live: Live, options: AutoOptions) -> Chosen:
    """A law for every parameter of the network."""
    network = network_of(live)
    stacked, notes = stack_drafts(network, options)
    return place(
        live,
        network,
        lambda role: as_used(network, role, stacked.get(role.name) or _draft(network, role, options)),
        evidence={code: sentence(rows) for code, rows in EVIDENCE.items()},
        notes=(*notes, *input_warnings(network)),
    )


def _draft(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    if role.role == "weight":
        return next((d for rule in _MAP_RULES if (d := rule(network, role, options)) is not None), None)
    rule = _RULES.get(role.role)
    return None if rule is None else rule(network, role, options)


AUTO = Recipe(
    name="auto",
    summary="the best known start for this network, on evidence",
    choose=choose,
    options=AutoOptions,
    source="docs/recipes.md",
)
