"""From a graph to its `Analysis`, in stages: each is a pure function of what was found before."""

from __future__ import annotations

from dataclasses import replace

from fanin.graph.analysis.analysis import Analysis, Walked, depths
from fanin.graph.analysis.attention import attention
from fanin.graph.analysis.axes import trace
from fanin.graph.analysis.cells import loops
from fanin.graph.analysis.contraction import contractions
from fanin.graph.analysis.dependence import dependence
from fanin.graph.analysis.norms import norms
from fanin.graph.analysis.regions import regions
from fanin.graph.analysis.residual import residuals
from fanin.graph.ir import Graph

__all__ = ["analyse"]


def analyse(graph: Graph) -> Analysis:
    """Find norms, activations, attentions, residual streams and weight uses of a graph."""
    known = dependence(graph)
    found_norms = norms(graph, known)
    products = attention(graph, known)
    inside_norms = frozenset(i for n in found_norms.values() for i in n.inside)
    operations = Analysis(
        graph=graph,
        dependence=known,
        contractions=contractions(graph, known),
        attention=products,
        products=frozenset(op for op, _ in products.places),
        norms=found_norms,
        regions=regions(graph, known, inside_norms),
    )
    uses = (use for found in operations.contractions.values() for use in found)
    links = {(use.op, use.weight): trace(graph, known, use.weight, use.axes) for use in uses}
    linked = replace(operations, links=links, walked=Walked())
    looped = replace(linked, loops=loops(linked), walked=Walked())
    return replace(looped, residuals=residuals(looped), depth=depths(operations), walked=Walked())
