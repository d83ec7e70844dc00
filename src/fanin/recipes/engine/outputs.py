"""What a network makes of the outputs of its last map, where it reads nothing else any more."""

from __future__ import annotations

from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import VIEWS
from fanin.recipes.engine.distances import spread
from fanin.recipes.engine.effective import own_size
from fanin.recipes.engine.network import Network

__all__ = ["outputs_factor"]

_LARGE = 0.8  # of the size; above it, what a function asks for is that size but for chance
_MOST_VALUES = 256  # on the way; what is longer is not asked
_MOST_NUMBERS = 1 << 24  # of the largest tensor on the way


def outputs_factor(network: Network, role: ParameterRole, size: float) -> float:
    """What the std of a map's outputs is to be multiplied by, so that the network's own have this std.

    The function between the two (lengths of capsules that are routed by agreement, squares, products of outputs, a
    factor) runs on normal numbers of several stds. One where a function would make outputs of the network as large or
    smaller, and where more than this function lies between.

    Args:
        network: the captured model.
        role: the map.
        size: std of its outputs, and of those of the network.
    """
    made = network.graph.ops[role.uses[0].op].output if len(role.uses) == 1 else None
    end = None if made is None else _end(network, made)
    if made is None or end is None:
        return 1.0
    own = own_size(lambda std: spread(network, {made: std}, end), size)
    return own.std / size if own is not None and own.std < _LARGE * size else 1.0


def _end(network: Network, made: int) -> int | None:
    """The only output of a network, where it is a function of this value and of numbers that no signal changes."""
    graph, outputs = network.graph, [o.value for o in network.graph.outputs]
    if len(outputs) != 1:
        return None
    mine, todo, bent = {made}, {op.index for op in graph.consumers(made)}, False
    while todo and len(mine) <= _MOST_VALUES:
        op = graph.ops[min(todo)]  # in order, so that all it reads has been met
        todo.remove(op.index)
        others = (v for v in op.inputs if v not in mine)
        if op.index in network.weight_of_op or not all(_is_fixed(network, v) for v in others):
            return None
        bent = bent or op.name not in VIEWS
        mine.update(op.outputs)
        todo.update(after.index for v in op.outputs for after in graph.consumers(v))
    alone = bent and not todo and outputs[0] in mine
    return outputs[0] if alone and max(graph.value(v).numel for v in mine) <= _MOST_NUMBERS else None


def _is_fixed(network: Network, value: int) -> bool:
    known = value in network.graph.data and network.graph.value(value).kind != "input"
    return known or value in network.weight_only
