"""Parameters beside each other: residual branches, repeated use, which bias belongs to which weight, plain stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.analysis import Analysis, Residual
from fanin.graph.analysis.events import Event
from fanin.graph.analysis.walks import downstream
from fanin.graph.ir import Graph
from fanin.graph.roles.data import Branch, ParameterRole, Use

__all__ = ["branch_at", "iterated", "place_name", "plain_stack", "with_owners"]


def branch_at(analysis: Analysis, index: int, events: Sequence[Event]) -> Branch | None:
    """The place of an op in a residual branch: the one it writes, else the innermost one around it."""
    written = next((e for e in events if e.kind == "residual"), None)
    residual = analysis.residuals[written.op] if written is not None else analysis.branch_around.get(index)
    if residual is None:
        return None
    return Branch(
        stream=residual.stream,
        index=residual.index,
        num_branches=len(analysis.branches_of[residual.stream]),
        position=residual.maps.get(index, max(residual.num_maps - 1, 0)),
        num_maps=residual.num_maps,
        writes=written is not None,
        kind=residual.kind,
        post_norm=_is_post_norm(analysis, residual),
    )


def _is_post_norm(analysis: Analysis, residual: Residual) -> bool:
    """Whether the only reader of the sum is a norm."""
    out = analysis.graph.ops[residual.op].output
    readers = [op for op in analysis.graph.consumers(out) if analysis.graph.is_live(op)]
    return bool(readers) and all(op.index in analysis.inside_norm for op in readers) and out not in analysis.outputs


def place_name(graph: Graph, index: int) -> str:
    """An op and the module that runs it, for reasons ("linear in layers.0.mlp")."""
    op = graph.ops[index]
    return f"{op.name} in {op.module or graph.model}"


def iterated(graph: Graph, ops: Sequence[int]) -> int:
    """Longest chain among uses of one parameter in which each feeds the next."""
    places = sorted(set(ops))
    if len(places) < 2:
        return len(places)
    wanted = set(places)
    longest: dict[int, int] = {}
    carried: dict[int, int] = {}
    for op in graph.ops[places[0] : places[-1] + 1]:
        before = max((carried.get(i, 0) for i in op.inputs), default=0)
        if op.index in wanted:
            before += 1
            longest[op.index] = before
        if before:
            carried.update(dict.fromkeys(op.outputs, before))
    return max(longest.values())


def with_owners(analysis: Analysis, found: Mapping[str, ParameterRole]) -> dict[str, ParameterRole]:
    """The roles with the names that belong to them: the bias of each weight, the factor of each branch."""
    biases = {r.owner: n for n, r in found.items() if r.role == "bias" and r.owner}
    scales = _layer_scales(analysis, found)
    return {n: _with_names(r, biases.get(n, ""), scales) for n, r in found.items()}


def _with_names(r: ParameterRole, bias: str, scales: Mapping[tuple[int, int], str]) -> ParameterRole:
    uses = tuple(_with_scale(u, scales) for u in r.uses) if scales else r.uses
    return r if (bias, uses) == (r.bias, r.uses) else replace(r, bias=bias, uses=uses)


def _layer_scales(analysis: Analysis, found: Mapping[str, ParameterRole]) -> dict[tuple[int, int], str]:
    """(stream, branch index) -> name of the parameter that scales the branch."""
    scales = {}
    for name, r in found.items():
        if r.role != "layer_scale":
            continue
        for use in r.uses:
            for e in downstream(analysis, analysis.graph.ops[use.op].output):
                if e.kind == "residual":
                    residual = analysis.residuals[e.op]
                    scales[residual.stream, residual.index] = name
    return scales


def _with_scale(use: Use, scales: Mapping[tuple[int, int], str]) -> Use:
    if use.branch is None or (use.branch.stream, use.branch.index) not in scales:
        return use
    return replace(use, branch=replace(use.branch, layer_scale=scales[use.branch.stream, use.branch.index]))


def plain_stack(
    analysis: Analysis, found: Mapping[str, ParameterRole]
) -> tuple[tuple[str, FoundActivation | None], ...]:
    """The weights of a plain stack in order, each with its activation; empty for any other model."""
    weights = sorted((r for r in found.values() if r.role == "weight" and r.uses), key=lambda r: r.uses[0].op)
    plain = {"weight", "bias", "unused", "act_param", "gain"}
    if not weights or any(r.role not in plain for r in found.values()) or analysis.residuals or analysis.norms:
        return ()
    if any(not _is_plain(r) for r in weights):
        return ()
    depths = [r.depth for r in weights]
    return tuple((r.name, r.activation) for r in weights) if depths == list(range(1, len(depths) + 1)) else ()


def _is_plain(r: ParameterRole) -> bool:
    return len(r.uses) == 1 and len(r.tags) == 1 and r.tags[0] in ("act", "linear", "head") and len(r.feeds) == 1
