"""Layers of functions of single numbers (Kolmogorov-Arnold networks): splines, bumps, Chebyshev polynomials."""

from __future__ import annotations

import functools
import math

from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import VIEWS
from fanin.recipes.auto.evidence import BESIDE_SHARE
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.auto.sharp import SMOOTH_CHI, calm_scale
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.expansions import Expansion, sharpness
from fanin.recipes.engine.network import Network

__all__ = ["before_expansion", "beside_map"]

_NEAR = 4  # operations between a map and the sum that its output is part of


def beside_map(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """The weight of an expansion that is added to a plain map of the same signal: small, so that the map leads.

    Source: Liu et al. 2024 (KAN), arXiv 2404.19756, section 2.2.
    """
    expansion = network.expansions.get(role.name)
    if expansion is None or not _is_beside(network, role, expansion):
        return None
    return forward(
        network,
        role,
        options,
        factor=BESIDE_SHARE,
        how="beside",
        adds=("beside a map",),
        rule="beside a map",
        evidence="expansions",
        count=expansion.count,
        share=BESIDE_SHARE,
    )


def before_expansion(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map before functions that are chaotic at variance 1: outputs of the variance at which they are not."""
    use = role.use
    if not network.expansions or use is None or use.branch is not None or use.norm_after or len(role.uses) > 1:
        return None
    after = _sums(network, network.graph.ops[use.op].output, count=1)
    behind = next((e for e in network.expansions.values() if e.source in after), None)
    chi = None if behind is None else sharpness(network.graph, behind, 1.0)
    if behind is None or chi is None or not chi > SMOOTH_CHI:
        return None
    layers = len(network.expansions)
    q = calm_scale(functools.partial(sharpness, network.graph, behind), layers)
    return forward(
        network,
        role,
        options,
        factor=math.sqrt(q),
        how="chi",
        adds=("sharp",),
        rule="sharp",
        evidence="expansions",
        activation=f"a basis of {behind.count} functions",
        q=q,
        layers=layers,
        chi=chi,
    )


def _is_beside(network: Network, role: ParameterRole, expansion: Expansion) -> bool:
    """Whether its output is added to that of a plain map of the same signal."""
    use = role.use
    if use is None:
        return False
    mine = _sums(network, network.graph.ops[use.op].output, count=2)
    for other in network.roles.parameters.values():
        if other.role != "weight" or other.use is None or other.name in network.expansions:
            continue
        op = network.graph.ops[other.use.op]
        reads = network.data_operand(op)
        if reads is not None and _comes_from(network, reads, expansion) and mine & _sums(network, op.output, count=2):
            return True
    return False


def _sums(network: Network, value: int, *, count: int) -> frozenset[int]:
    """The value, its views, and the sums it is part of: with parameters, and `count` - 1 times with other signals."""
    found, todo = {value: count}, [value]
    for _ in range(_NEAR):
        following: list[int] = []
        for one in todo:
            for op in network.graph.consumers(one):
                signals = [i for i in op.inputs if i not in network.weight_only]
                left = found[one] - (len(signals) - 1)
                if (op.name == "add" and left > 0) or (op.name in VIEWS and len(signals) == 1):
                    found[op.output] = left if op.name == "add" else found[one]
                    following.append(op.output)
        todo = following
    return frozenset(found)


def _comes_from(network: Network, value: int, expansion: Expansion) -> bool:
    """Whether a value is a function of the expanded signal, without a map between."""
    for _ in range(_NEAR):
        if value == expansion.source:
            return True
        producer = network.graph.producer(value)
        if producer is None or producer.index in network.weight_of_op or len(set(producer.inputs)) != 1:
            return False
        value = producer.inputs[0]
    return value == expansion.source
