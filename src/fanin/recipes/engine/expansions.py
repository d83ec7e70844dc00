"""Signals expanded in a basis: several functions of each number, combined by a weight for each (splines, Chebyshev)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from fanin.graph.ir import Graph, Op
from fanin.graph.recording.replay import run
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import COMPARISONS, ELEMENTWISE

__all__ = ["Expansion", "expansions", "sharpness"]

_FEWEST = 3  # functions of each number
_SPREADS = frozenset(
    {
        *("view", "reshape", "flatten", "unflatten", "transpose", "permute", "t", "movedim", "squeeze", "unsqueeze"),
        *("expand", "expand_as", "contiguous", "clone", "getitem", "select", "stack", "cat", "to", "float", "double"),
        *("zeros_like", "ones_like", "full_like"),
    }
)
_POINTWISE = ELEMENTWISE | COMPARISONS | _SPREADS
_MOST = 1 << 22  # entries that are drawn to measure the functions
_DRAWN = 4096  # at least
_STEP = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Several functions of each entry of one value.

    Attributes:
        source: index of the value that they are functions of.
        basis: index of the value that holds all of them.
        count: functions of each entry.
        ops: operations between the two, in order.
    """

    source: int
    basis: int
    count: int
    ops: tuple[int, ...]


def expansions(graph: Graph, roles: Mapping[str, ParameterRole]) -> Mapping[str, Expansion]:
    """Weights that combine several functions of each number that they read, by name, with what they read.

    Args:
        graph: the captured forward pass.
        roles: of its parameters.
    """
    signals = _signals(graph)
    found = {}
    for role in roles.values():
        if role.role != "weight" or len(role.uses) != 1:
            continue
        reads = [i for i in graph.ops[role.uses[0].op].inputs if i in signals and graph.values[i].is_float]
        expansion = _expansion(graph, reads[0], signals) if len(reads) == 1 else None
        if expansion is not None:
            found[role.name] = expansion
    return found


def _signals(graph: Graph) -> frozenset[int]:
    """Values that depend on the inputs."""
    found = {v.index for v in graph.values if v.kind == "input"}
    for op in graph.ops:
        if any(i in found for i in op.inputs):
            found.update(op.outputs)
    return frozenset(found)


def _expansion(graph: Graph, basis: int, signals: frozenset[int]) -> Expansion | None:
    """Follow a value back to the one value that all of it is a function of, entry by entry.

    Of several such values the farthest counts, so that a function in front of the basis (tanh) belongs to it.
    """
    todo, ops, found = {basis}, set[int](), None
    while todo:
        value = max(todo, key=lambda v: _made_at(graph, v))
        producer = graph.producer(value)
        if len(todo) == 1 and value != basis:
            found = _as_expansion(graph, value, basis, ops) or found
        if producer is None or producer.name not in _POINTWISE or _narrows(graph, producer, signals):
            break
        ops.add(producer.index)
        todo = (todo - set(producer.outputs)) | {i for i in producer.inputs if i in signals}
    return found


def _made_at(graph: Graph, value: int) -> int:
    producer = graph.producer(value)
    return -1 if producer is None else producer.index


def _as_expansion(graph: Graph, source: int, basis: int, ops: set[int]) -> Expansion | None:
    one, every = graph.values[source], graph.values[basis]
    count, left = divmod(every.numel, max(one.numel, 1))
    if left or count < _FEWEST or not one.is_float:
        return None
    return Expansion(source=source, basis=basis, count=count, ops=tuple(sorted(ops)))


def _narrows(graph: Graph, op: Op, signals: frozenset[int]) -> bool:
    """Whether it takes a part of a signal, so that entries no longer belong to single entries before."""
    sizes = [graph.values[i].numel for i in op.inputs if i in signals]
    return bool(sizes) and graph.values[op.output].numel < max(sizes)


# ---------------------------------------------------------------------- how sharp the functions are
def sharpness(graph: Graph, expansion: Expansion, q: float) -> float | None:
    """Q sum E f_k'(z)² / sum E f_k(z)², z ~ N(0, q); None where the functions cannot be run.

    That is chi_1 of a layer which combines the functions by independent weights and keeps q: by how much it multiplies
    the squared distance of two close inputs.
    """
    import torch

    shape = graph.values[expansion.source].shape
    if graph.values[expansion.basis].numel > _MOST or not graph.values[expansion.source].numel:
        return None
    second = slope = 0.0
    try:
        with torch.no_grad():
            for z in _normal(shape, q**0.5):
                low, middle, high = (_values(graph, expansion, z + h) for h in (-_STEP, 0.0, _STEP))
                second += float(middle.square().sum())
                slope += float(((high - low) / (2.0 * _STEP)).square().sum())
    except Exception:  # an operation that cannot be run again outside its model
        return None
    return q * slope / second if second > 0.0 else None


def _normal(shape: tuple[int, ...], std: float) -> list[Any]:
    """Tensors of this shape whose entries together are evenly spread quantiles of N(0, std²)."""
    import torch

    size = torch.Size(shape).numel()
    times = -(-_DRAWN // size)
    points = [NormalDist(sigma=std).inv_cdf((i + 0.5) / _DRAWN) for i in range(_DRAWN)]
    every = torch.tensor(points, dtype=torch.float64)
    order = torch.arange(times * size) % _DRAWN
    return [every[order[i::times]].reshape(shape) for i in range(times)]


def _values(graph: Graph, expansion: Expansion, source: Any) -> Any:
    known = {expansion.source: source}

    def value(index: int) -> Any:
        if index not in known:
            producer = graph.producer(index)
            known[index] = graph.data[index] if producer is None else None
            if producer is not None:
                known.update(zip(producer.outputs, run(producer, value), strict=False))
        found = known[index]
        return found.double() if found.is_floating_point() else found

    return value(expansion.basis)
