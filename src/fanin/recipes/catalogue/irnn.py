"""``irnn``: recurrent ReLU networks whose state map starts as the identity, with zero biases and small input maps."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Dirac, Identity, Normal, PerPart, Zeros
from fanin.recipes.engine.cells import state_law
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import law, table_recipe

__all__ = ["IRNN", "IrnnOptions"]

_SOURCE = "Le, Jaitly, Hinton 2015, arXiv 1504.00941, section 3"


@dataclass(frozen=True, slots=True, kw_only=True)
class IrnnOptions:
    """Options of ``irnn``.

    Attributes:
        std: of all maps but the recurrent ones.
        gain: multiplies the identity; below 1 the state forgets.
    """

    std: float = 0.001
    gain: float = 1.0


def small(network: Network, role: ParameterRole, options: IrnnOptions) -> Draft:
    """N(0, std²) for every map that is not recurrent."""
    return law(Normal(std=options.std), role, rule="irnn", formula=f"{options.std:g}", source=_SOURCE)


def hidden(network: Network, role: ParameterRole, options: IrnnOptions) -> Draft:
    """The identity, for each gate where there are several."""
    one = Dirac(gain=options.gain) if role.layout.tap_axes else Identity(gain=options.gain)
    each = one if len(role.parts) < 2 else PerPart((one,) * len(role.parts))
    made = state_law(role, each, Normal(std=options.std))
    return law(made, role, rule="irnn state", formula=f"{options.gain:g} × identity", source=_SOURCE)


def bias(network: Network, role: ParameterRole, options: IrnnOptions) -> Draft:
    """Zero."""
    return fixed(Zeros(), rule="bias", reason="biases start at zero")


IRNN = table_recipe(
    "irnn",
    "identity recurrence, zero biases, small input maps",
    {"weight": small, "rnn_ih": small, "rnn_hh": hidden, "rnn_bias": bias},
    options=IrnnOptions,
    source=_SOURCE,
)
