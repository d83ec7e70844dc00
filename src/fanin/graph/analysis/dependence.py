"""Which tensors carry the signal, which are made of parameters alone, and which are neither.

Only this tells which operand of a matrix product is the weight: ``x @ W``, ``W @ x`` and a low-rank ``B @ A`` look the
same. Latent inputs (learned queries, class tokens, position tables) are parameters that *become* signal where a weight
is applied to them or they are combined with the signal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from fanin.graph.ir import Graph, Op
from fanin.model.operations import CONVOLUTIONS, FACTORIES, LOOKUPS, MATRIX_PRODUCTS, NORMS, RECURRENT, SHAPED_BY

__all__ = ["Dependence", "Kind", "dependence"]

# signal: depends on float inputs, or on what a weight made; weight: on parameters but no signal;
# index: on integer inputs only;
# aux: on neither (masks, positions, constants)
Kind = Literal["signal", "weight", "index", "aux"]
_ADDRESSED = CONVOLUTIONS | {
    "linear",
    "bilinear",
    "_grouped_mm",
}  # operations whose weight has a place of its own in the call
_PRODUCTS = MATRIX_PRODUCTS | CONVOLUTIONS
_MAX_PASSES = 6


@dataclass(frozen=True, slots=True)
class Dependence:
    """Kind of each value by index, and the products of parameters that are signal nevertheless."""

    kinds: tuple[Kind, ...]
    latent_products: frozenset[int]

    def is_signal(self, value: int) -> bool:
        """Whether the value carries the signal."""
        return self.kinds[value] == "signal"

    def is_weight(self, value: int) -> bool:
        """Whether the value is made of parameters without signal."""
        return self.kinds[value] == "weight"


def dependence(graph: Graph) -> Dependence:
    """Kinds of all values.

    Products of parameters with each other or with constants are first taken for weights. Then those that are used as
    the weight of no operation become signal.
    """
    latent: frozenset[int] = frozenset()
    kinds = _propagate(graph, latent)
    for _ in range(_MAX_PASSES):
        more = frozenset(
            op.index
            for op in graph.live_ops()
            if _ambiguous(op, kinds, latent) and not _ends_as_weight(graph, op, kinds)
        )
        if not more:
            break
        latent |= more
        kinds = _propagate(graph, latent)
    learned = _learned_inputs(graph, kinds, latent)
    return Dependence(tuple(_propagate(graph, latent, learned) if learned else kinds), latent)


def _learned_inputs(graph: Graph, kinds: list[Kind], latent: frozenset[int]) -> frozenset[int]:
    """Parameters that maps are applied to, as if they were inputs (learned queries, latent arrays)."""
    found: set[int] = set()
    for index in latent:
        op = graph.ops[index]
        if not any(kinds[i] == "weight" for i in op.inputs[1:]):
            continue  # a map of constants, such as the zero state that a loop starts from
        todo = [op.ref(0, "input")]
        while todo:
            value = todo.pop()
            if value is None or kinds[value] != "weight":
                continue
            v, maker = graph.values[value], graph.producer(value)
            if v.kind == "parameter":
                found.update({value} if sum(n != 1 for n in v.shape) > 1 else ())
            elif maker is not None and maker.name not in _PRODUCTS and maker.name not in LOOKUPS:
                todo += maker.inputs[:1] if maker.name in NORMS else maker.inputs
    return frozenset(found)


def _propagate(graph: Graph, latent: frozenset[int], learned: frozenset[int] = frozenset()) -> list[Kind]:
    kinds: list[Kind] = ["aux"] * len(graph.values)
    for v in graph.values:
        if v.kind == "input":
            kinds[v.index] = "signal" if v.is_float else "index"
        elif v.kind == "parameter":
            kinds[v.index] = "signal" if v.index in learned else "weight"
    for op in graph.ops:
        carried = op.inputs[:1] if op.name in SHAPED_BY else op.inputs
        kind = _kind_of(op, {kinds[i] for i in carried}, latent)
        for out in op.outputs:
            kinds[out] = kind if graph.values[out].is_float or kind == "aux" else "index"
    return kinds


def _kind_of(op: Op, kinds: set[Kind], latent: frozenset[int]) -> Kind:
    if op.name in FACTORIES:
        return "aux"
    if op.index in latent or "signal" in kinds:
        return "signal"
    if "weight" in kinds and (
        op.name in LOOKUPS or op.name in RECURRENT or (op.name in _PRODUCTS and "index" in kinds)
    ):
        return "signal"
    order: tuple[Kind, ...] = ("weight", "index", "aux")
    return next((k for k in order if k in kinds), "aux")


def _ambiguous(op: Op, kinds: list[Kind], latent: frozenset[int]) -> bool:
    if op.name not in _PRODUCTS or op.index in latent or len(op.inputs) < 2:
        return False
    found = {kinds[i] for i in op.inputs}
    return "weight" in found and "signal" not in found and "index" not in found


def _ends_as_weight(graph: Graph, start: Op, kinds: list[Kind]) -> bool:
    """Whether a product of parameters is used as the weight of an operation further down (or of none)."""
    addressed_only = start.name in _ADDRESSED
    todo, seen, fate = deque(start.outputs), set[int](), True
    while todo:
        value = todo.popleft()
        if any(o.value == value for o in graph.outputs):
            return False
        for op in graph.consumers(value):
            if op.index in seen or not graph.is_live(op):
                continue
            seen.add(op.index)
            if op.name in _ADDRESSED and op.ref(1, "weight") == value:
                return True
            if op.name in _ADDRESSED or any(kinds[i] == "signal" for i in op.inputs):
                matrix = op.name in _PRODUCTS and len(graph.values[value].shape) <= 2 and not addressed_only
                if matrix and op.name not in _ADDRESSED:
                    return True
                fate = False
                continue
            todo.extend(op.outputs)
    return fate
