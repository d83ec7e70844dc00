"""All of what is found out about a graph before its parameters get their roles, in one object."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.graph.analysis.attention import attention
from fanin.graph.analysis.axes import Link, trace
from fanin.graph.analysis.contraction import contractions
from fanin.graph.analysis.dependence import taint
from fanin.graph.analysis.norms import norms
from fanin.graph.analysis.regions import regions
from fanin.graph.analysis.residual import Surroundings, residuals
from fanin.graph.analysis.walks import Flow
from fanin.graph.ir import Graph
from fanin.model.operations import RECURRENT

__all__ = ["Analysis", "analyse"]


@dataclass(frozen=True, slots=True)
class Analysis:
    """A graph with everything that was found in it.

    Attributes:
        flow: norms, regions, attentions, residual additions and weight uses, and the walks over them.
        depth: maps on the longest way from an input to each value.
        links: (op index, weight value) -> the parameters that weight is made of.
    """

    flow: Flow
    depth: tuple[int, ...]
    links: dict[tuple[int, int], tuple[Link, ...]]

    @property
    def graph(self) -> Graph:
        """The graph itself."""
        return self.flow.graph


def analyse(graph: Graph) -> Analysis:
    """Find norms, activations, attentions, residual streams and weight uses of a graph."""
    kinds = taint(graph)
    found_norms = norms(graph, kinds)
    inside = {i: n for n in found_norms.values() for i in n.inside}
    uses = contractions(graph, kinds)
    attentions = attention(graph, kinds)
    fused = frozenset(op for op, _ in attentions.places)
    found_regions = regions(graph, kinds, frozenset(inside))
    around = Surroundings(graph, kinds, found_norms, found_regions, uses, fused)
    flow = Flow(around, residuals(around), attentions, inside, frozenset(o.value for o in graph.outputs))
    links = {(i, u.weight): trace(graph, kinds, u.weight, u.axes) for i, found in uses.items() for u in found}
    return Analysis(flow, _depths(graph, flow), links)


def _depths(graph: Graph, flow: Flow) -> tuple[int, ...]:
    depth = [0] * len(graph.values)
    for op in graph.ops:
        maps = op.index in flow.around.contractions or op.name in RECURRENT
        before = max((depth[i] for i in op.inputs), default=0)
        for out in op.outputs:
            depth[out] = before + maps
    return tuple(depth)
