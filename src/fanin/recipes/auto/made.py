"""Maps that make weights: hypernetworks, generators of kernels, dynamic filters."""

from __future__ import annotations

import math

from fanin.graph.ir import Op
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import CONVOLUTIONS, DROPOUT, SOFTMAX, VIEWS
from fanin.recipes.auto.inputs import second_moment
from fanin.recipes.auto.maps import forward
from fanin.recipes.auto.options import AutoOptions
from fanin.recipes.engine.draft import Draft
from fanin.recipes.engine.network import Network
from fanin.theory.activations import activation_names
from fanin.theory.moments import gaussian_moments

__all__ = ["made_weight", "terms_of"]

_PRODUCTS = frozenset({"matmul", "bmm", "baddbmm", "einsum", "linear"})


def made_weight(network: Network, role: ParameterRole, options: AutoOptions) -> Draft | None:
    """A map whose outputs are split into the axes of a matrix that multiplies another signal; None for any other."""
    use = role.use
    if use is None or role.layout.tap_axes or role.layout.lookup:
        return None
    found = [pair for u in role.uses for pair in terms_of(network, network.graph.ops[u.op])]
    if not found:
        return None
    # a generator that several layers share takes the geometric mean, so that all of them together keep the signal
    terms = math.exp(sum(math.log(n * e) for n, e in found) / len(found))
    return forward(
        network,
        role,
        options,
        factor=1.0 / math.sqrt(terms),
        how="made",
        adds=("made weight",),
        rule="made weight",
        evidence="",
        terms=terms,
    )


def terms_of(network: Network, op: Op) -> list[tuple[int, float]]:
    """(terms summed, E x² of what they multiply) of every product in which the outputs of a map are the matrix.

    The outputs are the matrix where views split their feature axis in two or more before the product: one of those
    axes is summed over.
    """
    found: list[tuple[int, float]] = []
    features = network.graph.value(op.output).shape[-1]
    todo = [(op.output, features)]
    seen = set[int]()
    while todo:
        value, size = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        for reader in network.graph.consumers(value):
            if reader.name in VIEWS:
                todo += [(out, size) for out in reader.outputs]
            elif reader.name in CONVOLUTIONS and len(reader.inputs) > 1 and reader.inputs[1] == value:
                found.append((math.prod(network.graph.value(value).shape[1:]), 1.0))
            elif reader.name in _PRODUCTS and network.graph.value(value).shape[-1] != size:
                found += _product(network, reader, value, size)
    return found


def _product(network: Network, op: Op, made: int, features: int) -> list[tuple[int, float]]:
    """The terms of one product, where the matrix has more rows than one and its own feature axes make it up."""
    shape = network.graph.value(made).shape
    other = next((v for v in op.inputs if v != made), None)
    if other is not None and _is_share(network, other):
        return []  # a mean by attention: what is averaged is no weight
    if other is None or len(shape) < 2 or shape[-1] * shape[-2] > features:
        return []
    theirs = network.graph.value(other).shape
    left = op.inputs[0] == made
    terms = shape[-1] if left or op.name == "linear" else shape[-2]
    if op.name == "einsum":
        terms = next((n for n in shape[-2:] if n in theirs[-2:]), terms)
    return [(terms, _read_moment(network, other))] if terms > 1 else []


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
