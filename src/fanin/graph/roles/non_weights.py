"""Parameters that are no weight of a contraction: which operations read them with the signal, and their role there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.ir import Op, Parameter
from fanin.graph.roles.data import ParameterRole, Use
from fanin.graph.roles.layouts import vector
from fanin.graph.roles.operand_rules import WITH_BIAS, FoundRole, Meeting, find_role
from fanin.graph.roles.placement import iterated, place_name
from fanin.graph.roles.reparametrizations import chain_names
from fanin.model.operations import NORMS

__all__ = ["learned_input_role", "meetings", "non_weight_role"]

_MOST_MEETINGS = 8  # of the ops that read a parameter with the signal, so many are examined for its role


def meetings(analysis: Analysis, leaf: int) -> Iterator[Meeting]:
    """The ops that read a parameter together with the signal, or return it, nearest first."""
    graph, kinds = analysis.graph, analysis.dependence
    todo: deque[tuple[int, tuple[int, ...]]] = deque([(leaf, ())])
    seen = {leaf}
    while todo:
        value, chain = todo.popleft()
        for op in graph.consumers(value):
            if not graph.is_live(op):
                continue
            signal = any(kinds.is_signal(o) for o in op.outputs) or not any(kinds.is_weight(o) for o in op.outputs)
            if signal or _is_side_operand(op, value):
                yield Meeting(op, value, chain)
                continue
            for out in op.outputs:
                if out not in seen:
                    seen.add(out)
                    todo.append((out, (*chain, op.index)))


def _is_side_operand(op: Op, value: int) -> bool:
    """Whether a value is the scale or shift of a norm, or the bias of a map, that works on learned inputs alone."""
    if op.name in NORMS:
        return op.ref(0, "input") != value
    return op.name in WITH_BIAS and op.ref(2, "bias") == value


def learned_input_role(analysis: Analysis, p: Parameter) -> ParameterRole:
    """The role of a parameter that maps are applied to (learned queries, latent arrays)."""
    readers = [op for op in analysis.graph.consumers(p.value) if analysis.graph.is_live(op)]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role="token",
        shape=p.shape,
        layout=vector(p),
        uses=tuple(_use(analysis, Meeting(op, p.value, ())) for op in readers),
        iterated=1,
        reason="a learned input: maps are applied to it as to a signal",
    )


def non_weight_role(analysis: Analysis, p: Parameter, met: Sequence[Meeting]) -> ParameterRole:
    """The role of a parameter from its meetings with the signal: the first that is known."""
    value = analysis.graph.values[p.value]
    found = [find_role(analysis, m, value) for m in met[:_MOST_MEETINGS]]
    best = _best(found)
    meeting = met[found.index(best)]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=best.role,
        shape=p.shape,
        layout=vector(p),
        uses=tuple(_use(analysis, m) for m in met),
        iterated=iterated(analysis.graph, [m.op.index for m in met]),
        owner=_owner_name(analysis, best),
        norm=best.norm,
        reason=f"{best.reason} at {place_name(analysis.graph, meeting.op.index)}",
    )


def _best(found: Sequence[FoundRole]) -> FoundRole:
    """The first role that is known; but what multiplies a signal anywhere is no bias and no position.

    A factor of a state meets a zero state first, where what it gives is added like a bias.
    """
    known = [f for f in found if f.role != "unknown"]
    scales = [f for f in known if f.role == "scale"]
    if known and known[0].role in ("bias", "shift", "position") and scales:
        return scales[0]
    return known[0] if known else found[0]


def _use(analysis: Analysis, m: Meeting) -> Use:
    return Use(
        op=m.op.index,
        op_name=m.op.name,
        module=m.op.module,
        depth=analysis.depth[m.op.output],
        chain=chain_names(analysis, m.chain),
        output_shape=analysis.graph.values[m.op.output].shape,
    )


def _owner_name(analysis: Analysis, found: FoundRole) -> str:
    """Name of the parameter that the owner value is made of."""
    if found.owner is None:
        return ""
    direct = analysis.graph.parameter_of(found.owner)
    if direct is not None:
        return direct.name
    links = next((ls for (_, w), ls in analysis.links.items() if w == found.owner), ())
    whole = [link for link in links if link.whole] or list(links)
    return analysis.graph.values[whole[0].value].name if whole else ""
