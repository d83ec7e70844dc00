"""Distances of a signal from learned points: outputs of prototypes and centres of classes, hidden layers of bumps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.graph.ir import Graph, Op
from fanin.graph.recording.replay import replayed
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import LEFT_PRODUCTS, SOFTMAX, VIEWS
from fanin.recipes.engine.effective import held

if TYPE_CHECKING:
    import torch

    from fanin.recipes.engine.network import Network

__all__ = ["DISTANCES", "Distances", "adds_its_size", "are_centres", "distances_of", "spread"]

DISTANCES = frozenset({"cdist", "pairwise_distance", "_euclidean_dist"})
_SIZES = frozenset({"pow", "square", "abs", "norm", "linalg_vector_norm"})
_SUMS = frozenset({"add", "sub", "rsub"})
_SCALES = frozenset({"mul", "div"})
_NEAR = 3  # factors between a difference and its square
_SIGNED = _SUMS | {"mul", "neg", "div"}
# What leaves a distance one: multiples and sums, powers, logarithms, the least or the mean of several.
_ON_THE_WAY = (
    VIEWS
    | DISTANCES
    | LEFT_PRODUCTS
    | _SIZES
    | _SIGNED
    | frozenset({"linear", "einsum", "rdiv", "rpow", "sqrt", "rsqrt", "reciprocal", "log", "log1p", "float_power"})
    | frozenset({"clamp", "clamp_min", "clamp_max", "sum", "mean", "amin", "amax", "min", "max", "logsumexp"})
)
_BUMPS = frozenset({"exp", "exp2"})
_SUMMED = DISTANCES | LEFT_PRODUCTS | {"linear", "einsum", "sum", "mean", "norm", "linalg_vector_norm"}
_MOST_NUMBERS = 1 << 24  # of the largest tensor on the way
_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """Distances of a signal from learned points.

    Attributes:
        network: the captured model.
        centres: name of the points.
        signal: value index of the signal.
        end: value index of the distances: the output of the model, what a softmax makes it of, or what is bent.
        alone: whether nothing else reads the signal.
        are_outputs: whether they are the outputs of the model; else a hidden layer makes bumps of them, exp(-d^2).
    """

    network: Network
    centres: str
    signal: int
    end: int
    alone: bool
    are_outputs: bool

    def spread(self, signal: float, centres: float) -> float | None:
        """Std of the distances of one sample, for a normal signal and normal centres of these stds.

        None where an operation does not run alone, or where there is only one distance a sample that never varies.
        """
        points = self.network.graph.parameters[self.centres].value
        return spread(self.network, {self.signal: signal, points: centres}, self.end)


def spread(network: Network, stds: Mapping[int, float], end: int) -> float | None:
    """Std over the numbers of one sample of a value that is made of normal numbers of these stds.

    None where an operation does not run alone, or where there is only one number a sample that never varies.
    """
    import torch

    random, starts = torch.Generator("cpu").manual_seed(_SEED), dict[int, torch.Tensor]()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            for value, std in stds.items():
                dtype: Any = getattr(torch, network.graph.value(value).dtype)
                shape = network.graph.value(value).shape
                starts[value] = std * torch.randn(shape, generator=random, dtype=dtype, device="cpu")
            return _spread(replayed(network.graph, starts, end, held(network)))
    except Exception:  # an operation that does not run alone says nothing of the spread
        return None


def _spread(distances: torch.Tensor) -> float | None:
    x = distances.double()
    by_sample = x.flatten(1) if x.dim() > 1 and math.prod(x.shape[1:]) > 1 else x.reshape(1, -1)
    spread = float(by_sample.var(dim=1, unbiased=False).mean().sqrt())
    return spread if 0.0 < spread < math.inf else None


def distances_of(network: Network) -> tuple[Distances, ...]:
    """The distances from parameters that are outputs of a network or that bumps are made of, one entry a parameter."""
    found = []
    for name, role in network.roles.parameters.items():
        points = len(role.shape) > 1 and role.use is not None
        if points and (are_centres(network.graph, role) or adds_its_size(network, role)):
            one = _distances(network, name)
            if one is not None:
                found.append(one)
    return tuple(found)


def _distances(network: Network, name: str) -> Distances | None:
    graph, role = network.graph, network.roles.parameters[name]
    signal = _base(network, network.data_operand(graph.ops[role.uses[0].op]))
    if signal is None:
        return None
    points = graph.parameters[name].value
    fixed = {v for v in graph.data if graph.value(v).kind != "input"}
    fixed |= {v for v in network.weight_only if v != points and points not in network.leaves_of(v)}
    mine: dict[int, frozenset[int]] = {signal: frozenset({signal}), points: frozenset({points})}
    stops, summed, alone = list[Op](), False, True  # not summed: each feature has a bump of its own (wavelets)
    outputs = {o.value for o in graph.outputs}
    for op in graph.live_ops():
        of = frozenset[int]().union(*(mine.get(v, frozenset()) for v in op.inputs))
        if not of:
            continue
        inside = op.name in _ON_THE_WAY and all(v in mine or v in fixed for v in op.inputs)
        if inside:
            summed = summed or op.name in _SUMMED
            mine.update(dict.fromkeys(op.outputs, of))
        elif len(of) > 1:
            stops.append(op)
        else:
            alone = alone and signal not in of
    ends = [v for v, of in mine.items() if len(of) > 1 and v in outputs]
    ends += [op.inputs[0] for op in stops if op.name in SOFTMAX and op.output in outputs]
    bumps = [op.inputs[0] for op in stops if op.name in _BUMPS and summed]
    are_outputs = bool(ends) and all(op.name in SOFTMAX and op.output in outputs for op in stops)
    if not (are_outputs or bumps) or max(graph.value(v).numel for v in mine) > _MOST_NUMBERS:
        return None  # a choice of the nearest, a map
    return Distances(network, name, signal, ends[0] if are_outputs else bumps[0], alone, are_outputs)


def _base(network: Network, value: int | None) -> int | None:
    """The signal of which a value is a view or a multiple."""
    while value is not None:
        producer = network.graph.producer(value)
        signals = [] if producer is None else [v for v in producer.inputs if v not in network.weight_only]
        moved = producer is not None and len(signals) == 1 and len(set(producer.inputs)) == 1
        if producer is None or not moved or producer.name not in VIEWS | {"mul", "div", "neg"}:
            return value
        value = signals[0]
    return None


def are_centres(graph: Graph, role: ParameterRole) -> bool:
    """Whether the signal's distance from a parameter is measured, by one operation or as the size of a difference."""
    use = role.use
    if use is None or use.op_name in DISTANCES:
        return use is not None
    return use.op_name == "sub" and _size_is_taken(graph, graph.ops[use.op].output)


def _size_is_taken(graph: Graph, difference: int, depth: int = 0) -> bool:
    """Whether nothing but the size of a difference is read: of it, or of a multiple of it by something else."""
    after = graph.consumers(difference)
    return bool(after) and depth <= _NEAR and all(_is_size(graph, op, difference, depth) for op in after)


def _is_size(graph: Graph, op: Op, difference: int, depth: int) -> bool:
    if op.name in _SIZES or _squares(op) or _is_twice_the_same(graph, op):
        return True
    if op.name not in _SCALES:
        return False
    again = [o for o in graph.consumers(op.output) if difference in o.inputs and o.name == "mul"]  # (d c) d
    return bool(again) or _size_is_taken(graph, op.output, depth + 1) or _closes(graph, op, difference)


def _is_twice_the_same(graph: Graph, op: Op) -> bool:
    """Whether an operation multiplies a value by the same, made a second time: (h - c) (h - c)."""
    return op.name == "mul" and len(op.inputs) > 1 and _made_alike(graph, *op.inputs[:2])


def _made_alike(graph: Graph, one: int, other: int, depth: int = 0) -> bool:
    """Whether two values are made of the same ones by operations of the same names."""
    if one == other:
        return True
    a, b = graph.producer(one), graph.producer(other)
    if a is None or b is None or depth > _NEAR or a.name != b.name or len(a.inputs) != len(b.inputs):
        return False
    return all(_made_alike(graph, v, w, depth + 1) for v, w in zip(a.inputs, b.inputs, strict=True))


def _closes(graph: Graph, op: Op, difference: int) -> bool:
    """Whether an operation is the second factor of a square that has another factor between: d (c d)."""
    others = [graph.producer(v) for v in op.inputs if v != difference]
    return any(o is not None and o.name in _SCALES and difference in o.inputs for o in others)


def adds_its_size(network: Network, role: ParameterRole) -> bool:
    """Whether squares of a weight, summed, are added to what the weight makes of the signal.

    The squares meet no signal before: where squares of the signal multiply them (pairs of features, counted by the
    square of a sum less the sum of squares), they are no sizes of points.
    """
    graph = network.graph
    value = graph.parameters[role.name].value
    squares = {op.index for v in (value, *_multiples(network, value)) for op in graph.consumers(v) if _squares(op)}
    if not squares:  # most weights: no walk over the graph
        return False
    squared, made = set[int](), {graph.ops[u.op].output for u in role.uses}
    for op in graph.live_ops():
        if made & set(op.inputs) and op.name in _SIGNED:
            if squared & set(op.inputs) and op.name in _SUMS:
                return True
            made.update(op.outputs)
        elif op.output in network.weight_only:
            if squared & set(op.inputs) or op.index in squares:
                squared.update(op.outputs)
        elif squared & set(op.inputs) and op.name in _SUMS:  # |x|² + |c|² before the product
            squared.update(op.outputs)
    return False


def _multiples(network: Network, value: int) -> list[int]:
    """Products of a parameter with other parameters or constants, entry by entry."""
    made = [op.output for op in network.graph.consumers(value) if op.name in _SCALES and not _squares(op)]
    return [v for v in made if v in network.weight_only]


def _squares(op: Op) -> bool:
    return op.name in ("pow", "square") or (op.name == "mul" and len(op.inputs) == 2 and len(set(op.inputs)) == 1)
