"""``auto``: the best known start for this network, on evidence.

Every parameter goes through one table of rules, the first that answers decides (`_MAP_RULES` for maps); whole plain
stacks are decided together before that. `settle` then follows the signal through the graph and fixes each std by
what the weight really reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fanin.graph.roles.data import ParameterRole
from fanin.recipes.auto import maps, recurrent
from fanin.recipes.auto.evidence import EVIDENCE, INPUT_RANGE
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.siren import siren
from fanin.recipes.auto.small import SMALL
from fanin.recipes.auto.stacks import stack_drafts
from fanin.recipes.auto.tables import embedding
from fanin.recipes.base import Chosen, Live, Recipe
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.place import network_of, place

__all__ = ["AUTO"]

_MapRule = Callable[[Network, ParameterRole, AutoOptions], "Draft | None"]

_MAP_RULES: tuple[_MapRule, ...] = (
    maps.adapter,
    maps.rescaled,
    siren,
    maps.looped,
    maps.head,
    maps.residual,
    maps.entry,
    maps.forward,
)
_RULES: Mapping[str, _MapRule] = {
    **SMALL,
    "embedding": embedding,
    "rnn_ih": recurrent.input_weight,
    "rnn_hh": recurrent.hidden,
    "rnn_bias": recurrent.recurrent_bias,
}


def choose(live: Live, options: AutoOptions) -> Chosen:
    """A law for every parameter of the network."""
    network = network_of(live)
    stacked, notes = stack_drafts(network, options)
    return place(
        live,
        network,
        lambda role: stacked.get(role.name) or _draft(network, role, options),
        evidence=EVIDENCE,
        notes=(*notes, *_input_warnings(network)),
    )


def _draft(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    if role.role == "weight":
        return next((d for rule in _MAP_RULES if (d := rule(network, role, options)) is not None), None)
    rule = _RULES.get(role.role)
    return None if rule is None else rule(network, role, options)


def _input_warnings(network: Network) -> tuple[str, ...]:
    said = []
    for value in network.graph.leaves("input"):
        tensor = network.graph.data.get(value.index)
        if tensor is None or not value.is_float or not tensor.numel():
            continue
        moment = float(tensor.detach().double().square().mean())
        if not INPUT_RANGE[0] <= moment <= INPUT_RANGE[1]:
            said.append(
                f"the input {value.name!r} has second moment {moment:.3g}; networks train best on inputs of about "
                "1: standardise it "
                "(subtract the mean, divide by the standard deviation of the training data)"
            )
    return tuple(said)


AUTO = Recipe(
    name="auto",
    summary="the best known start for this network, on evidence",
    choose=choose,
    options=AutoOptions,
    source="docs/recipes.md",
)
