"""A recipe from a table of rules, with common rules for the roles that the table does not name."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fanin.errors import LayoutError
from fanin.graph.roles.data import ParameterRole, Use
from fanin.initializers import ForgetBias, Initializer, Normal, Orthogonal, VarianceScaling, Zeros
from fanin.recipes.base import Chosen, Live, Recipe
from fanin.recipes.engine.cells import GLOROT, state_law
from fanin.recipes.engine.draft import Draft, Read, fixed
from fanin.recipes.engine.network import Network, network_of
from fanin.recipes.engine.pieces import by_pieces
from fanin.recipes.engine.place import place
from fanin.recipes.engine.small import SMALL
from fanin.recipes.step import Step
from fanin.text.numbers import big

__all__ = ["COMMON", "NoOptions", "Rule", "is_head", "law", "num_branches", "table_recipe", "writes"]

Rule = Callable[[Network, ParameterRole, Any], "Draft | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """A recipe without options."""


def law(
    made: Initializer, role: ParameterRole, *, rule: str, formula: str, source: str = "", reason: str = "", **more: Any
) -> Draft:
    """A draft with one line of derivation: the realised std and its formula."""
    std = made.std_for(role.shape, role.layout)
    steps = (Step(quantity="std", value=std, formula=formula, source=source, worked=_worked(made, role)),)
    return fixed(made, rule=rule, reason=reason or f"{rule}: std = {formula}", steps=steps, **more)


def _worked(made: Initializer, role: ParameterRole) -> str:
    """Gain / sqrt(fan) with its numbers, of a law that is just that."""
    if not isinstance(made, VarianceScaling):
        return ""
    return f"{big(made.gain, 6)} / sqrt({big(made.fan(role.shape, role.layout), 6)})"


# ---------------------------------------------------------------------- questions of a role
def writes(role: ParameterRole) -> bool:
    """Whether a map is the last one of a residual branch."""
    return any(u.branch is not None and u.branch.writes for u in role.uses)


def num_branches(role: ParameterRole) -> int:
    """Number of branches of the residual stream that a map is in; 1 outside of one."""
    return role.branch.num_branches if role.branch is not None else 1


def is_head(role: ParameterRole) -> bool:
    """Whether a map gives the outputs of the network."""
    use: Use | None = role.use
    return use is not None and "head" in use.tags and "residual" not in use.tags and "linear" not in use.tags


# ---------------------------------------------------------------------- simple rules
def _embedding(network: Network, role: ParameterRole, options: Any) -> Draft:
    if "head" in role.tags:
        std = 1.0 / math.sqrt(role.shape[-1])
        return law(
            Normal(std=std), role, rule="tied embedding", formula="1 / sqrt(d), because it is also the output layer"
        )
    return law(Normal(std=1.0), role, rule="embedding", formula="1: rows of rms 1")


def _position(network: Network, role: ParameterRole, options: Any) -> Draft:
    return law(Normal(std=0.02), role, rule="position", formula="0.02, as is customary")


def _token(network: Network, role: ParameterRole, options: Any) -> Draft:
    if network.starts_stream(role):
        return law(Normal(std=1.0), role, rule="query", formula="1, because a residual stream starts from it")
    return law(Normal(std=0.02), role, rule="token", formula="0.02, as is customary")


def _rnn_input(network: Network, role: ParameterRole, options: Any) -> Draft:
    source = "Glorot and Bengio 2010, eq. 12"
    return law(GLOROT, role, rule="recurrent input", formula="sqrt(2 / (fan_in + fan_out)), per gate", source=source)


def _rnn_hidden(network: Network, role: ParameterRole, options: Any) -> Draft:
    made = state_law(role, Orthogonal())
    return law(made, role, rule="recurrent", formula="orthogonal per gate", source="Saxe et al. 2013, arXiv 1312.6120")


def _rnn_bias(network: Network, role: ParameterRole, options: Any) -> Draft:
    order = "".join(p.tag for p in role.parts)
    if sorted(order) == sorted("ifgo") and not network.adds_to_state(role):
        source = "Jozefowicz et al. 2015, section 2.2"
        return law(ForgetBias(order=order), role, rule="forget bias", formula="forget gates 1, others 0", source=source)
    return fixed(Zeros(), rule="recurrent bias", reason="biases start at zero")


COMMON: Mapping[str, Rule] = {
    **SMALL,
    "position": _position,
    "token": _token,
    "embedding": _embedding,
    "rnn_ih": _rnn_input,
    "rnn_hh": _rnn_hidden,
    "rnn_bias": _rnn_bias,
}


# ---------------------------------------------------------------------- a recipe from a table
def _checked(role: ParameterRole, make: Callable[[], Draft | None]) -> Draft | None:
    """A rule's draft; None for a weight whose axes could not be followed, where the rule's law needs them."""
    if role.role != "weight" or role.layout.in_axes:
        return make()
    try:
        found = make()
        made = None if found is None else found.make(Read()).law
        if made is not None:
            made.check(role.shape, role.layout)
    except LayoutError:
        return None
    return found


def table_recipe(
    name: str,
    summary: str,
    rules: Mapping[str, Rule],
    *,
    options: type[Any] = NoOptions,
    source: str = "",
    notes: Callable[[Network, Any], tuple[str, ...]] | None = None,
    extras: Callable[[Network, Any], Mapping[str, Any]] | None = None,
) -> Recipe:
    """A recipe that is a table: role -> rule, with `COMMON` for the roles that it does not name.

    Args:
        name: of the recipe.
        summary: one line.
        rules: role -> rule.
        options: dataclass of its options.
        source: where it is from.
        notes: its warnings about a network.
        extras: JSON-ready facts beside the laws.
    """
    table = {**COMMON, **rules}

    def choose(live: Live, chosen: Any) -> Chosen:
        network = network_of(live)

        def draft_of(role: ParameterRole) -> Draft | None:
            rule = table.get(role.role)
            if rule is not None and role.pieces:
                return by_pieces(role, lambda one: rule(network, one, chosen))
            return None if rule is None else _checked(role, lambda: rule(network, role, chosen))

        said = notes(network, chosen) if notes is not None else ()
        beside = extras(network, chosen) if extras is not None else {}
        return place(live, network, draft_of, notes=said, extras=beside)

    # As in collections.namedtuple: a recipe belongs to the module that makes it; `fanin explain` prints its docstring.
    choose.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    return Recipe(name=name, summary=summary, choose=choose, options=options, source=source)
