"""One `ParameterRole` for each parameter of a graph.

What a parameter is depends on how it reaches the signal: as a weight of a contraction (`weights`), as an operand of a
fused recurrent operation (`recurrent_weights`), or in any other operation (`non_weights`).
"""

from __future__ import annotations

from fanin.graph.analysis.analyse import analyse
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.ir import Graph, Parameter
from fanin.graph.roles.branch_ends import branch_ends
from fanin.graph.roles.cell_weights import cell_bias_role, cell_weight_role
from fanin.graph.roles.data import ParameterRole, Roles, Stream
from fanin.graph.roles.layouts import default_layout
from fanin.graph.roles.non_weights import learned_input_role, meetings, non_weight_role
from fanin.graph.roles.placement import plain_stack, with_owners
from fanin.graph.roles.recurrent_weights import recurrent_role
from fanin.graph.roles.weights import gain_role, weight_role

__all__ = ["roles"]


def roles(graph: Graph) -> Roles:
    """The role of every parameter of a graph.

    Example:
        >>> import torch
        >>> from fanin.graph.recording.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> r = roles(capture(model, torch.zeros(3, 4)))
        >>> r["0.weight"].fan_in, r["0.weight"].activation.label, r["2.weight"].feeds, r["2.weight"].tags
        (4.0, 'relu', ('act:relu',), ('head',))
    """
    analysis = analyse(graph)
    first = {name: _role(analysis, p) for name, p in graph.parameters.items()}
    streams = _streams(analysis)
    named = with_owners(analysis, first)
    return Roles(named, streams, plain_stack(analysis, named), graph.notes, branch_ends(analysis))


def _streams(analysis: Analysis) -> tuple[Stream, ...]:
    return tuple(
        Stream(
            number=number,
            num_branches=len(branches),
            start=branches[0].start,
            sums=tuple(analysis.graph.ops[r.op].output for r in branches),
        )
        for number, branches in sorted(analysis.branches_of.items())
    )


def _role(analysis: Analysis, p: Parameter) -> ParameterRole:
    if p.value in analysis.recurrent_places:
        return recurrent_role(analysis, p)
    seen = analysis.sightings.get(p.value, ())
    whole = [s for s in seen if s.link.whole]
    if whole:
        plain = weight_role(analysis, p, whole)
        return cell_weight_role(analysis, p, plain) if p.value in analysis.loops.maps else plain
    if seen:
        return gain_role(analysis, p, seen)
    if analysis.depends(p.value):
        return learned_input_role(analysis, p)
    met = sorted(meetings(analysis, p.value), key=lambda m: m.op.index)
    if not met:
        return _unused_role(analysis, p)
    plain = non_weight_role(analysis, p, met)
    return cell_bias_role(analysis, p, plain) if p.value in analysis.loops.biases else plain


def _unused_role(analysis: Analysis, p: Parameter) -> ParameterRole:
    read = analysis.graph.consumers(p.value)
    why = "its only readers have no influence on an output" if read else "the forward pass never reads it"
    return ParameterRole(
        name=p.name, aliases=p.aliases, role="unused", shape=p.shape, layout=default_layout(p), reason=why
    )
