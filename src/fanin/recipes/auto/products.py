"""Stacked products of two maps of one input (bilinear layers, SwiGLU without a stream): one factor starts at 1."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Ones, PerPart, Zeros
from fanin.recipes.auto.evidence import OPEN_SHARE
from fanin.recipes.auto.maps import forward, maps_apart
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import Number, reason
from fanin.recipes.engine.draft import Draft, fixed
from fanin.recipes.engine.network import Network

__all__ = ["open_bias", "open_factor"]

_FEWEST = 2  # products in a network from which their powers add up


def open_factor(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The map of a factor that starts at one: small, so that the factor stays near one; None for any other map.

    Source: Liu et al. 2021 (gMLP), arXiv 2105.08050, section 2.1: weights near zero and biases of one.
    """
    if not _is_open(network, role.name):
        return None
    count, parts = _count(network), network.open_factors[role.name]
    if parts:
        return _open_part(network, role, options, parts, OPEN_SHARE / count)
    return forward(
        network,
        role,
        options,
        factor=OPEN_SHARE / count,
        how="open",
        adds=("open factor",),
        rule="open factor",
        evidence="open-factors",
        count=count,
        share=OPEN_SHARE,
    )


def _open_part(
    network: Network, role: ParameterRole, options: AutoOptions, parts: tuple[int, ...], share: float
) -> Draft:
    """Such a map beside others in one weight: it alone is small."""
    return forward(
        network,
        role,
        options,
        more=lambda std: (Number("open", std * share, "open part"),),
        law=maps_apart(role, parts, "open"),
        adds=("open part",),
        rule="open factor",
        evidence="open-factors",
        count=_count(network),
        share=OPEN_SHARE,
    )


def open_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The bias of such a map: one; None for any other bias."""
    if not _is_open(network, role.owner):
        return None
    parts = network.open_factors[role.owner]
    if not parts:
        return fixed(Ones(), rule="open factor", reason=reason("open factor bias"), evidence="open-factors")
    each = PerPart(tuple(Ones() if n in parts else Zeros() for n in range(len(role.parts))))
    return fixed(each, rule="open factor", reason=reason("open part bias"), evidence="open-factors")


def _count(network: Network) -> int:
    """Factors of a network that can start at one."""
    return sum(max(1, len(parts)) for parts in network.open_factors.values())


def _is_open(network: Network, name: str) -> bool:
    """Whether it is such a map, in a network of several, and both it and its bias are drawn."""
    if name not in network.open_factors or _count(network) < _FEWEST:
        return False
    bias = network.roles.parameters[name].bias
    fits = not network.open_factors[name] or bool(network.roles.parameters[bias].parts)
    return fits and not {name, bias} & network.kept
