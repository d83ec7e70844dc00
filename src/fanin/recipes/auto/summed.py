"""The map between a sum over positions and the output layer, where a rectifier leaves sizes as they are."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import VIEWS
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.activation_facts import size_slope
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network

__all__ = ["summed"]

_FEWEST = 4  # positions
_EXACT = 1e-3
_MOST_OPS = 16  # between two maps


def summed(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """As large as if it read the mean over the positions: its outputs are large, and the output layer takes that back.

    Samples share most of such a sum. Divided by its whole size, the map has a std so small that one step of an
    optimizer turns its units off for all samples. The network computes the same either way.
    """
    use = role.use
    if use is None or use.branch is not None or use.norm_after or use.activation is None:
        return None
    count = _positions_summed(network, role)
    if count < _FEWEST or abs(size_slope(use.activation, 1.0) - 1.0) > _EXACT or not _feeds_head(network, role):
        return None
    return forward(network, role, options, factor=count, how="summed", adds=("summed",), rule="summed", count=count)


def _positions_summed(network: Network, role: ParameterRole) -> float:
    """How many positions the sum that a map reads is over; 1 where it reads no sum."""
    graph = network.graph
    read = network.data_operand(graph.ops[role.uses[0].op])
    for _ in range(_MOST_OPS):
        op = None if read is None else graph.producer(read)
        if op is None or (op.name not in VIEWS and op.name != "sum"):
            return 1.0
        if op.name == "sum":
            before, after = graph.value(op.inputs[0]), graph.value(op.output)
            return before.numel / after.numel if before.shape[-1] == after.shape[-1] else 1.0
        read = op.inputs[0]
    return 1.0


def _feeds_head(network: Network, role: ParameterRole) -> bool:
    """Whether the output layer is the only map that reads what this one makes."""
    todo, found = [network.graph.ops[u.op].output for u in role.uses], set[str]()
    for _ in range(_MOST_OPS):
        if not todo:
            break
        for op in network.graph.consumers(todo.pop()):
            name = network.weight_of_op.get(op.index)
            if name is None:
                todo += op.outputs
            else:
                found.add(name)
    return not todo and bool(found) and all("head" in network.roles.parameters[n].tags for n in found)
