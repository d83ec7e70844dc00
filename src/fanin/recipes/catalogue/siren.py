"""``siren``: networks of sin(omega x): first layer U(±1 / fan_in), all others U(±sqrt(6 / fan_in) / omega)."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import SirenFirst, classic_bias, siren_hidden
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network
from fanin.recipes.engine.table_recipe import law, table_recipe

__all__ = ["SIREN", "SirenOptions"]

_SOURCE = "Sitzmann et al. 2020, arXiv 2006.09661, section 3.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class SirenOptions:
    """Options of ``siren``.

    Attributes:
        omega: the factor inside the sine; None reads it off the graph (30 where there is none).
    """

    omega: float | None = None


def weight(network: Network, role: ParameterRole, options: SirenOptions) -> Draft:
    """U(±1 / fan_in) on coordinates, U(±sqrt(6 / fan_in) / omega) behind a sine."""
    use = role.use
    beside = (use.activation or use.feed) if use is not None else None
    omega = options.omega or (abs(beside.inner) if beside is not None and beside.name in ("sin", "cos") else 30.0)
    if set(role.feeds) == {"input"}:
        return law(SirenFirst(), role, rule="siren first", formula="1 / (sqrt(3) fan_in)", source=_SOURCE)
    return law(siren_hidden(omega=omega), role, rule="siren", formula=f"sqrt(2 / fan_in) / {omega:g}", source=_SOURCE)


def bias(network: Network, role: ParameterRole, options: SirenOptions) -> Draft:
    """Torch's own law, which SIREN's code does not change."""
    owner = network.roles.parameters.get(role.owner)
    fan_in = owner.fan_in if owner is not None and owner.fan_in else None
    if fan_in is None:
        from fanin.initializers import Zeros

        return fixed(Zeros(), rule="bias", reason="biases start at zero")
    return law(classic_bias(fan_in=fan_in), role, rule="siren bias", formula="U(±1 / sqrt(fan_in))", source=_SOURCE)


SIREN = table_recipe(
    "siren",
    "SIREN's start for networks of sines",
    {"weight": weight, "bias": bias},
    options=SirenOptions,
    source=_SOURCE,
)
