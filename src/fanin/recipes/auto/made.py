"""Maps that make weights: hypernetworks, generators of kernels, dynamic filters."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanin.graph.analysis.contraction import Axes, einsum_axis, linear_axes, right_axes
from fanin.graph.ir import Op
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import CONVOLUTIONS, DROPOUT, ELEMENTWISE, SOFTMAX, VIEWS
from fanin.recipes.auto.inputs import second_moment
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.effective import Function, own_size
from fanin.recipes.engine.followed import after, numbered, varies
from fanin.recipes.engine.network import Network
from fanin.theory.activations import activation_names
from fanin.theory.moments import gaussian_moments

if TYPE_CHECKING:
    import torch

__all__ = ["made_weight"]

_PRODUCTS = frozenset({"matmul", "bmm", "baddbmm", "einsum", "linear"})
_FUNCTIONS = ELEMENTWISE | {"cumsum"}
_BATCH: Axes = ("batch",)
_ATTENDS = frozenset({"attn_q", "attn_k", "attn_v"})


@dataclass(frozen=True, slots=True)
class _Term:
    """One product in which the outputs of a map are the matrix.

    Attributes:
        value: the matrix, made of the map's output.
        terms: numbers that are summed into one.
        second: E x² of what the matrix multiplies.
    """

    value: int
    terms: int
    second: float

    @property
    def std(self) -> float:
        """Root mean square that such a matrix needs to keep the signal."""
        return 1.0 / math.sqrt(self.terms * self.second)


def made_weight(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map whose outputs are split into the axes of a matrix that multiplies another signal; None for any other."""
    use = role.use
    if use is None or role.layout.tap_axes or role.layout.lookup:
        return None
    outputs = [(network.graph.ops[u.op].output, not _ATTENDS & set(u.tags)) for u in role.uses]
    found = [(output, term) for output, vectors in outputs for term in _terms(network, output, vectors=vectors)]
    if not found:
        return None
    # a generator that several layers share takes the geometric mean, so that all of them together keep the signal
    wanted = _geometric_mean(term.std for _, term in found)
    own = _geometric_mean(_before_functions(network, output, term) for output, term in found)
    changed = not math.isclose(own, wanted)
    return forward(
        network,
        role,
        options,
        factor=own,
        how="made through" if changed else "made",
        adds=("made weight", *(("made through",) if changed else ())),
        rule="made weight",
        evidence="",
        terms=1.0 / wanted**2,
        wanted=wanted,
    )


def _geometric_mean(numbers: Iterable[float]) -> float:
    logs = [math.log(n) for n in numbers]
    return math.exp(sum(logs) / len(logs))


def _before_functions(network: Network, output: int, term: _Term) -> float:
    """Root mean square of a map's output at which the matrix that is made of it has the one it needs."""
    function = Function(network, output, term.value)
    own = None if function.is_view else own_size(functools.partial(function.size, None), term.std)
    return term.std if own is None else own.std


def _terms(network: Network, output: int, *, vectors: bool) -> list[_Term]:
    """Every product in which the outputs of a map are the matrix, or with `vectors` its one row.

    They are where views split their features so that the axis which is summed over and one that is not are both of
    features; or where there is no other axis (what reads the state of a state-space layer). Between the map and the
    product they may be multiplied by a constant, summed along an axis or bent.
    """
    graph, found = network.graph, list[_Term]()
    shape = graph.value(output).shape
    todo, seen = [(output, numbered(shape, -1) if shape else None)], set[int]()
    while todo:
        value, features = todo.pop()
        if value in seen or features is None:
            continue
        seen.add(value)
        for reader in graph.consumers(value):
            if reader.name in VIEWS or _is_function(network, reader, value):
                todo += [(out, after(network, reader, features, out)) for out in reader.outputs]
            elif reader.name in CONVOLUTIONS and len(reader.inputs) > 1 and reader.inputs[1] == value:
                found.append(_Term(value, math.prod(graph.value(value).shape[1:]), 1.0))
            elif reader.name in _PRODUCTS:
                found += _product(network, reader, value, features, vectors=vectors)
    return found


def _is_function(network: Network, op: Op, value: int) -> bool:
    """Whether an operation makes numbers of this value and constants alone, as many as there were."""
    graph = network.graph
    others = [v for v in op.inputs if v != value]
    alone = all(v in graph.data and graph.value(v).kind != "input" for v in others)
    return alone and op.name in _FUNCTIONS and graph.value(op.output).shape == graph.value(value).shape


def _product(network: Network, op: Op, made: int, features: torch.Tensor, *, vectors: bool) -> list[_Term]:
    """The product, where the axis that is summed over and one that is not are both of the map's features."""
    other = next((v for v in op.inputs if v != made), None)
    if other is None or _is_share(network, other):
        return []  # a mean by attention: what is averaged is no weight
    if other in network.weight_only and made not in network.weight_only:
        return []  # a map of the signal, slot by slot
    shape, axes = network.graph.value(made).shape, _axes(network, op, made)
    summed = [a for a, axis in enumerate(axes) if axis == "in" and varies(features, a)]
    rows = [a for a, axis in enumerate(axes) if axis == "out"]
    one_row = vectors and bool(rows) and math.prod(shape[a] for a in rows) == 1
    terms = math.prod(shape[a] for a in summed)
    is_matrix = bool(summed) and (one_row or any(varies(features, a) for a in rows)) and terms > 1
    return [_Term(made, terms, _read_moment(network, other))] if is_matrix else []


def _axes(network: Network, op: Op, made: int) -> Axes:
    """What each axis of the matrix is in a product."""
    rank = len(network.graph.value(made).shape)
    if op.name == "einsum":
        return _einsum_axes(op, made, rank)
    return right_axes(rank) if op.inputs[-1] == made and op.name != "linear" else linear_axes(rank)


def _einsum_axes(op: Op, made: int, rank: int) -> Axes:
    equation = next((a for a in op.args if isinstance(a, str)), "").replace(" ", "")
    left, arrow, out = equation.partition("->")
    letters = left.split(",")
    if not arrow or len(letters) != len(op.inputs):
        return ()
    at = op.inputs.index(made)
    others = set("".join(t for n, t in enumerate(letters) if n != at))
    first, _, last = letters[at].partition("...")
    batch = _BATCH * (rank - len(first) - len(last))
    one, two = (tuple(einsum_axis(c, out, others) for c in part) for part in (first, last))
    return (*one, *batch, *two)


def _read_moment(network: Network, value: int) -> float:
    """E x² of what a made weight multiplies: of an input, of an activation of unit pre-activations, else 1."""
    producer = network.graph.producer(value)
    while producer is not None and producer.name in VIEWS and producer.inputs:
        value = producer.inputs[0]
        producer = network.graph.producer(value)
    if producer is None:
        return second_moment(network, value)
    if producer.name not in activation_names() or len(producer.inputs) != 1:
        return 1.0
    return gaussian_moments(producer.name).second


def _is_share(network: Network, value: int) -> bool:
    """Whether a value is what a softmax gives, up to views and dropout."""
    maker = network.graph.producer(value)
    while maker is not None and maker.inputs and maker.name in VIEWS | DROPOUT:  # a constant is a view of nothing
        maker = network.graph.producer(maker.inputs[0])
    return maker is not None and maker.name in SOFTMAX
