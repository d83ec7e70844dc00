"""torch's fused recurrent operations: which of their operands is which weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from fanin.graph.ir import Graph, Op, Ref

__all__ = ["RecurrentPlace", "places_of"]


@dataclass(frozen=True, slots=True)
class RecurrentPlace:
    """One weight or bias of a recurrent op: its value, role, layer, direction, and its owner if a bias."""

    value: int
    role: Literal["rnn_ih", "rnn_hh", "rnn_bias", "weight"]
    layer: int
    reverse: bool
    owner: int | None = None


def places_of(graph: Graph, op: Op) -> Iterator[RecurrentPlace]:
    """The weights and biases of a recurrent op, in torch's order.

    For each layer and direction: ih, hh, then biases, then projection.
    """
    if op.name.endswith("_cell"):
        weights = [op.ref(2), op.ref(3), op.ref(4), op.ref(5)]
        yield from _group(graph, [w for w in weights if w is not None], 0, False)
        return
    lists = [a for a in op.args if isinstance(a, (list, tuple)) and len(a) >= 2 and all(isinstance(r, Ref) for r in a)]
    if not lists:
        return
    flat = [r.index for r in lists[-1]]
    place = next(i for i, a in enumerate(op.args) if a is lists[-1])
    biases, layers = bool(op.args[place + 1]), int(op.args[place + 2])
    directions = 2 if op.args[place + 5] is True else 1
    size = len(flat) // max(layers * directions, 1)
    for n in range(layers * directions):
        group = flat[n * size : (n + 1) * size]
        yield from _group(graph, group, n // directions, n % directions == 1, projected=size > (4 if biases else 2))


def _group(
    graph: Graph, group: list[int], layer: int, reverse: bool, *, projected: bool = False
) -> Iterator[RecurrentPlace]:
    ih, hh, *rest = group
    yield RecurrentPlace(ih, "rnn_ih", layer, reverse)
    yield RecurrentPlace(hh, "rnn_hh", layer, reverse)
    for n, value in enumerate(rest):
        if projected and n == len(rest) - 1:
            yield RecurrentPlace(value, "weight", layer, reverse)
        else:
            yield RecurrentPlace(value, "rnn_bias", layer, reverse, owner=(ih, hh)[n % 2])
