"""``rezero`` and ``skipinit``: a learned scalar on every residual branch starts at zero; the maps are classic."""

from __future__ import annotations

from fanin.errors import PlanError
from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Zeros
from fanin.recipes.catalogue.classic import weight
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import NoOptions, table_recipe

__all__ = ["REZERO", "SKIPINIT"]

_REZERO = "Bachlechner et al. 2020, arXiv 2003.04887, eq. 1"
_SKIPINIT = "De and Smith 2020, arXiv 2002.10444, section 4"


def scale(network: Network, role: ParameterRole, options: NoOptions) -> Draft:
    """Zero: every block starts as the identity."""
    return fixed(
        Zeros(), rule="branch scale", reason="scale of a residual branch, zero: every block starts as the identity"
    )


def _needs_scales(network: Network, options: NoOptions) -> tuple[str, ...]:
    if any(r.role == "layer_scale" for r in network.roles.parameters.values()):
        return ()
    raise PlanError(
        "this recipe sets the learned scalar on each residual branch to zero, and the model has no such parameter. Add "
        "one (x + alpha * f(x)), or use recipe='auto' with last_map='zero', which needs none."
    )


REZERO = table_recipe(
    "rezero",
    "a zero scale on every branch",
    {"weight": weight, "layer_scale": scale},
    source=_REZERO,
    notes=_needs_scales,
)
SKIPINIT = table_recipe(
    "skipinit",
    "a zero scale on every branch",
    {"weight": weight, "layer_scale": scale},
    source=_SKIPINIT,
    notes=_needs_scales,
)
