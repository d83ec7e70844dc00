"""The facts about a graph as one flat record, filled in stages by `fanin.graph.analysis.analyse.analyse`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from fanin.graph.analysis.attention import Attention
from fanin.graph.analysis.axes import Link
from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.dependence import Dependence
from fanin.graph.analysis.events import Event
from fanin.graph.analysis.loops import Loops
from fanin.graph.analysis.norms import Norm
from fanin.graph.analysis.recurrent import RecurrentPlace, places_of
from fanin.graph.analysis.regions import Regions
from fanin.graph.ir import Graph, Op
from fanin.model.operations import RECURRENT

__all__ = ["Analysis", "Residual", "Sighting", "Walked", "depths"]


@dataclass(frozen=True, slots=True)
class Residual:
    """One addition that closes a residual branch.

    Attributes:
        op: index of the addition.
        skip: its operand that carries the stream.
        branch: its operand that the branch wrote.
        start: the value that the branch started from.
        kind: "identity", or "projection" where the skip path holds one map of its own.
        stream: number of the stream.
        index: which branch of that stream, from 0.
        maps: ops of the branch that apply weights -> how many maps lie before on the longest path inside the branch.
        num_maps: maps on the longest path through the branch.
    """

    op: int
    skip: int
    branch: int
    start: int
    kind: Literal["identity", "projection"]
    stream: int
    index: int
    maps: Mapping[int, int]
    num_maps: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """One contraction that a parameter takes part in, and how the weight there is made of the parameter."""

    use: Contraction
    link: Link


@dataclass(frozen=True, slots=True)
class Walked:
    """What walks from a value have found.

    Attributes:
        after: value -> the events on all ways from it.
        before: value -> what it comes from, each with the number of steps to it.
    """

    after: dict[int, tuple[Event, ...]] = field(default_factory=dict)
    before: dict[int, tuple[tuple[str, int], ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A graph with what was found in it.

    Attributes:
        graph: the graph.
        dependence: which values carry the signal, and which are made of parameters alone.
        contractions: op index -> the weights that the op applies.
        attention: products of two signals, and the attentions among them.
        products: indices of the ops that multiply two signals.
        norms: op index -> the normalization whose output that op gives.
        regions: elementwise ops that are together one function of one value.
        residuals: op index -> the residual branch that the addition closes.
        depth: maps on the longest way from an input to each value.
        links: (op index, weight value) -> the parameters that the weight is made of.
        loops: recurrent cells that are written out step by step.
        walked: what walks from a value have found, kept so that each is made once.
    """

    graph: Graph
    dependence: Dependence
    contractions: Mapping[int, tuple[Contraction, ...]]
    attention: Attention
    products: frozenset[int]
    norms: Mapping[int, Norm]
    regions: Regions
    residuals: Mapping[int, Residual] = field(default_factory=dict)
    depth: tuple[int, ...] = ()
    links: Mapping[tuple[int, int], tuple[Link, ...]] = field(default_factory=dict)
    loops: Loops = field(default_factory=Loops)
    walked: Walked = field(default_factory=Walked, repr=False, compare=False)

    # ---------------------------------------------------------------------- questions
    def depends(self, value: int) -> bool:
        """Whether a value carries the signal: it depends on the model's inputs."""
        return self.dependence.is_signal(value)

    def signals(self, op: Op) -> list[int]:
        """The operands of an op that carry the signal, each once."""
        return [i for i in dict.fromkeys(op.inputs) if self.dependence.is_signal(i)]

    def is_map(self, op: Op) -> bool:
        """Whether an op applies a weight, is recurrent, or multiplies two signals."""
        return self.has_weights(op) or op.index in self.products

    def has_weights(self, op: Op) -> bool:
        """Whether an op applies a weight or is recurrent."""
        return op.index in self.contractions or op.name in RECURRENT

    def is_affine_end(self, value: int) -> bool:
        """Whether a value is an affine function of the root of its region."""
        found = self.regions.functions.get(value)
        return found is not None and found.is_affine

    def is_activated(self, value: int) -> bool:
        """Whether a value is what an activation gives."""
        found = self.regions.functions.get(value)
        return found is not None and not found.is_affine

    # ---------------------------------------------------------------------- the same facts, by another key
    @cached_property
    def outputs(self) -> frozenset[int]:
        """Values that the model returns."""
        return frozenset(o.value for o in self.graph.outputs)

    @cached_property
    def inside_norm(self) -> Mapping[int, Norm]:
        """Op index -> the normalization that the op is a part of."""
        return {i: n for n in self.norms.values() for i in n.inside}

    @cached_property
    def branch_around(self) -> Mapping[int, Residual]:
        """Op index -> the innermost residual branch around an op that applies weights."""
        outermost_first = sorted(self.residuals.values(), key=lambda r: -len(r.maps))
        return {i: r for r in outermost_first for i in r.maps}

    @cached_property
    def branches_of(self) -> Mapping[int, tuple[Residual, ...]]:
        """Number of a stream -> its branches, in order."""
        found: dict[int, list[Residual]] = {}
        for residual in self.residuals.values():
            found.setdefault(residual.stream, []).append(residual)
        return {stream: tuple(branches) for stream, branches in found.items()}

    @cached_property
    def sightings(self) -> Mapping[int, tuple[Sighting, ...]]:
        """Leaf of a parameter -> the contractions that it takes part in, in order."""
        found: dict[int, list[Sighting]] = {}
        for uses in self.contractions.values():
            for use in uses:
                for link in self.links[use.op, use.weight]:
                    found.setdefault(link.value, []).append(Sighting(use, link))
        return {leaf: tuple(seen) for leaf, seen in found.items()}

    @cached_property
    def recurrent_places(self) -> Mapping[int, tuple[tuple[int, RecurrentPlace], ...]]:
        """Leaf of a parameter -> (op index, place) in recurrent ops that it takes, in order."""
        found: dict[int, list[tuple[int, RecurrentPlace]]] = {}
        for op in self.graph.live_ops():
            if op.name in RECURRENT:
                for place in places_of(self.graph, op):
                    found.setdefault(place.value, []).append((op.index, place))
        return {leaf: tuple(places) for leaf, places in found.items()}


def depths(analysis: Analysis) -> tuple[int, ...]:
    """For each value, the operations with weights on the longest path to it."""
    depth = [0] * len(analysis.graph.values)
    for op in analysis.graph.ops:
        before = max((depth[i] for i in op.inputs), default=0)
        for out in op.outputs:
            depth[out] = before + analysis.has_weights(op)
    return tuple(depth)
