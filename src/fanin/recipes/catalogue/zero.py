"""``zero``: ZerO, a start without randomness: partial identities and Hadamard maps; last maps of branches zero."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Hadamard, Zeros
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, law, table_recipe, writes

__all__ = ["ZERO"]

_SOURCE = "Zhao, Schaefer, Anandkumar 2022, arXiv 2110.12661, algorithm 1"


def weight(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Zero into the stream, identity or Hadamard elsewhere."""
    if writes(role):
        return fixed(
            Zeros(), rule="zero last map", reason="last map of its branch, zero: at step 0 the branch adds nothing"
        )
    reason = "a partial identity, or a Hadamard map where the width grows: units differ without randomness"
    return law(Hadamard(), role, rule="hadamard", formula="identity or Hadamard", source=_SOURCE, reason=reason)


ZERO = table_recipe("zero", "ZerO: identity and Hadamard maps, no randomness", {"weight": weight}, source=_SOURCE)
