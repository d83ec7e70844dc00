"""Weights and biases of torch's fused recurrent operations (LSTM, GRU, RNN)."""

from __future__ import annotations

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.recurrent import RecurrentPlace
from fanin.graph.analysis.walks import downstream, sources
from fanin.graph.ir import Graph, Op, Parameter
from fanin.graph.roles.data import ParameterRole, Part, Use
from fanin.graph.roles.layouts import vector
from fanin.graph.roles.placement import branch_at
from fanin.graph.roles.reparametrizations import chain_names
from fanin.graph.roles.tags import tags
from fanin.layout import Layout, fans
from fanin.model.operations import GATES
from fanin.model.roles import stacked_gates

__all__ = ["recurrent_role"]


def recurrent_role(analysis: Analysis, p: Parameter) -> ParameterRole:
    """The role of a parameter of a recurrent operation, from its place in the call."""
    placed = analysis.recurrent_places[p.value]
    index, place = placed[0]
    op = analysis.graph.ops[index]
    layout = _layout(op, place, p)
    counted = fans(p.shape, layout) if len(p.shape) == 2 else None
    steps = _time_steps(analysis.graph, op) if place.role in ("rnn_hh", "weight") else 1
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=place.role,
        shape=p.shape,
        layout=layout,
        fan_in=counted.fan_in if counted else None,
        fan_out=counted.fan_out if counted else None,
        parts=_gates(op, place, p),
        uses=tuple(_recurrent_use(analysis, i, pl) for i, pl in placed),
        iterated=max(steps, len(placed)),
        owner=analysis.graph.values[place.owner].name if place.owner is not None else "",
        reason=f"{place.role} of {op.name}, layer {place.layer}{', reverse' if place.reverse else ''}",
    )


def _layout(op: Op, place: RecurrentPlace, p: Parameter) -> Layout:
    if place.role in ("rnn_ih", "rnn_hh"):
        return Layout.linear(parts=len(GATES[op.name]))
    return Layout.linear() if len(p.shape) == 2 else vector(p)


def _gates(op: Op, place: RecurrentPlace, p: Parameter) -> tuple[Part, ...]:
    """The gates stacked along the output axis."""
    return () if place.role == "weight" else stacked_gates(op.name, p.shape[0])


def _time_steps(graph: Graph, op: Op) -> int:
    shape = graph.values[op.inputs[0]].shape
    if op.name.endswith("_cell") or len(shape) < 2:
        return 1
    batch_first = len(op.args) > 8 and op.args[8] is True
    return shape[1] if batch_first and len(shape) == 3 else shape[0]


def _recurrent_use(analysis: Analysis, index: int, place: RecurrentPlace) -> Use:
    graph = analysis.graph
    op = graph.ops[index]
    events = tuple(dict.fromkeys(e for out in op.outputs for e in downstream(analysis, out)))
    first = place.layer == 0 and place.role == "rnn_ih"
    return Use(
        op=index,
        op_name=op.name,
        module=op.module,
        tags=tags(analysis, events),
        feeds=sources(analysis, op.inputs[0]) if first else ("rnn",),
        depth=analysis.depth[op.output],
        chain=chain_names(analysis, ()),
        input_shape=graph.values[op.inputs[0]].shape,
        output_shape=graph.values[op.output].shape,
        branch=branch_at(analysis, index, events),
    )
