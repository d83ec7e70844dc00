"""Parameters that a contraction sums over or looks up, and the gains that are broadcast into such weights."""

from __future__ import annotations

from collections.abc import Sequence

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.bounded import NEAR, reach
from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.walks import downstream, sources
from fanin.graph.ir import Parameter
from fanin.graph.roles.data import ParameterRole, Use
from fanin.graph.roles.layouts import fits, vector, weight_layout, with_parts
from fanin.graph.roles.parts import parts_of
from fanin.graph.roles.placement import branch_at, iterated, place_name
from fanin.graph.roles.reparametrizations import chain_names
from fanin.graph.roles.tags import tags
from fanin.layout import fans
from fanin.model.roles import Role

__all__ = ["gain_role", "weight_role"]

_TO_ACTIVATION = 10  # values between a map and the activation that feeds it


def weight_role(analysis: Analysis, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    """The role of a parameter that is a weight in these contractions; a lookup decides it before others."""
    seen = sorted(seen, key=lambda s: (not s.use.lookup, s.use.op))
    main = seen[0]
    layout, known = weight_layout(main.use, main.link, p)
    uses = tuple(_weight_use(analysis, s) for s in seen)
    parts = parts_of(analysis, seen, layout, p.shape)
    layout = with_parts(layout, parts, p.shape)
    counted = fans(p.shape, layout) if layout.in_axes and fits(layout, p) else None
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=_lookup_role(analysis, main, uses[0]) if main.use.lookup else "weight",
        shape=p.shape,
        layout=layout,
        layout_known=known,
        fan_in=counted.fan_in if counted else None,
        fan_out=counted.fan_out if counted else None,
        parts=parts,
        uses=uses,
        iterated=iterated(analysis.graph, [s.use.op for s in seen]),
        reason=_weight_reason(analysis, main, uses[0], known),
    )


def gain_role(analysis: Analysis, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    """The role of a parameter that is a factor or offset of a weight, never a whole weight."""
    first = seen[0]
    links = analysis.links[first.use.op, first.use.weight]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role="gain",
        shape=p.shape,
        layout=vector(p),
        uses=tuple(_weight_use(analysis, s) for s in seen),
        iterated=iterated(analysis.graph, [s.use.op for s in seen]),
        owner=next((analysis.graph.values[li.value].name for li in links if li.whole), ""),
        reason=f"broadcast into the weight of {place_name(analysis.graph, first.use.op)}",
    )


# ---------------------------------------------------------------------- tables
def _lookup_role(analysis: Analysis, main: Sighting, use: Use) -> Role:
    if set(use.tags) <= {"attn_bias", "embed"} and "attn_bias" in use.tags:
        return "attn_bias"
    rows = main.use.data[0]
    if analysis.dependence.kinds[rows] != "aux" or not _rows_differ(analysis, rows):
        return "embedding"
    return "position"


def _rows_differ(analysis: Analysis, rows: int) -> bool:
    """Whether a constant index asks for different rows (positions) or always the same (a default token type)."""
    graph = analysis.graph

    def first_operand(value: int) -> tuple[int, ...]:
        op = graph.producer(value)
        return () if op is None else op.inputs[:1]

    for value in reach(rows, first_operand, limit=NEAR):
        op = graph.producer(value)
        if op is None:
            data = graph.data.get(value)
            return data is None or data.unique().numel() > 1
        if op.name in ("zeros", "zeros_like", "new_zeros", "full"):
            return False
        if op.name in ("arange", "cumsum"):
            return True
    return True


# ---------------------------------------------------------------------- one use
def _weight_use(analysis: Analysis, s: Sighting) -> Use:
    graph = analysis.graph
    op = graph.ops[s.use.op]
    events = downstream(analysis, op.output)
    activations = tuple(e.activation for e in events if e.kind == "act" and e.activation is not None)
    norm = next((n for e in events for n in e.norms), None)
    return Use(
        op=op.index,
        op_name=op.name,
        module=op.module,
        tags=(*(("embed",) if s.use.lookup else ()), *tags(analysis, events)),
        feeds=_feeds(analysis, s.use),
        feed=_feed_activation(analysis, s.use.data[0]),
        activation=activations[0] if activations else None,
        activations=tuple(dict.fromkeys(activations)),
        norm_after="" if norm is None else analysis.norms[norm].name,
        depth=analysis.depth[op.output],
        chain=chain_names(analysis, s.link.ops),
        padding=s.use.padding,
        dilation=s.use.dilation,
        input_shape=graph.values[s.use.data[0]].shape,
        output_shape=graph.values[op.output].shape,
        branch=branch_at(analysis, op.index, events),
    )


def _feeds(analysis: Analysis, use: Contraction) -> tuple[str, ...]:
    if use.lookup:
        return ("input",) if analysis.dependence.kinds[use.data[0]] == "index" else ("const",)
    return tuple(dict.fromkeys(f for d in use.data for f in sources(analysis, d)))


def _feed_activation(analysis: Analysis, value: int) -> FoundActivation | None:
    """The activation that a data operand is the value of, through views."""

    def back(v: int) -> list[int]:
        if v in analysis.regions.root:
            return [analysis.regions.root[v]]
        op = analysis.graph.producer(v)
        if op is None or any(op.index in made for made in (analysis.contractions, analysis.norms, analysis.residuals)):
            return []
        signals = analysis.signals(op)
        return signals if len(signals) == 1 else []

    reached = reach(value, back, limit=_TO_ACTIVATION)
    return next((analysis.regions.functions[v] for v in reached if analysis.is_activated(v)), None)


def _weight_reason(analysis: Analysis, main: Sighting, use: Use, known: bool) -> str:
    what = "rows looked up by" if main.use.lookup else "summed over by"
    chain = f" after {' and '.join(use.chain)}" if use.chain else ""
    guess = "" if known else "; its axes could not be followed, torch's order (out, in, taps) is assumed"
    feeds, then = " + ".join(use.feeds) or "nothing", ", ".join(use.tags) or "nothing"
    return f"{what} {place_name(analysis.graph, main.use.op)}{chain}; fed by {feeds}, then {then}{guess}"
