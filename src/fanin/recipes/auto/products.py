"""Stacked products of two maps of one input (bilinear layers, SwiGLU without a stream): one factor starts at 1."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.initializers import Ones
from fanin.recipes.auto.evidence import OPEN_SHARE
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.wording import reason
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
    count = len(network.open_factors)
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


def open_bias(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The bias of such a map: one; None for any other bias."""
    if not _is_open(network, role.owner):
        return None
    return fixed(Ones(), rule="open factor", reason=reason("open factor bias"), evidence="open-factors")


def _is_open(network: Network, name: str) -> bool:
    """Whether it is such a map, in a network of several, and both it and its bias are drawn."""
    if name not in network.open_factors or len(network.open_factors) < _FEWEST:
        return False
    return not {name, network.roles.parameters[name].bias} & network.kept
