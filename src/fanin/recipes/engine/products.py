"""Products of two maps of one input, and which of the two factors can start at one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.units import held_units
from fanin.graph.ir import Graph, Op
from fanin.graph.recording.replay import run
from fanin.graph.roles.data import ParameterRole
from fanin.graph.roles.layouts import with_parts
from fanin.model.operations import DROPOUT, ELEMENTWISE, JOINS, VIEWS
from fanin.recipes.engine.activation_facts import is_bounded, is_limited

__all__ = ["open_factors", "with_open_biases"]

_THROUGH = (VIEWS | DROPOUT) - JOINS
_NEAR = 12  # operations between a map and the product that its output takes part in


@dataclass(frozen=True, slots=True)
class _Factor:
    """One factor of a product.

    Attributes:
        value: the factor.
        reads: the value that it is a function of.
        maker: name of the map that makes it; "" where it is a function of that value without a map.
        at: index of that map's operation.
        path: operations from the map, or from what is read, to the factor, in order.
        part: which of the maps that lie side by side in that weight; None where it holds one map.
    """

    value: int
    reads: int
    maker: str = ""
    at: int = -1
    path: tuple[int, ...] = ()
    part: int | None = None


def open_factors(graph: Graph, roles: Mapping[str, ParameterRole]) -> Mapping[str, tuple[int, ...]]:
    """Weights whose output multiplies another unbounded function of the same input, and whose bias can be one.

    Such a product has twice the power of its input, in a stack of n of them 2^n times: with one factor at one it has
    the power of the other. Of two plain maps the later one is meant. Products of a residual branch, and factors
    beside a bounded one (a sigmoid), keep the stream's size as they are.

    Returns:
        By name, which of the maps side by side in that weight; () where it holds one map.
    """
    makers = {u.op: r.name for r in roles.values() if r.role == "weight" and len(r.uses) == 1 for u in r.uses}
    found: dict[str, tuple[int, ...]] = {}
    for op in graph.live_ops():
        factor = _open(graph, op, roles, makers) if op.name == "mul" else None
        if factor is not None:
            parts = () if factor.part is None else (factor.part,)
            found[factor.maker] = tuple(sorted({*found.get(factor.maker, ()), *parts}))
    return found


def with_open_biases(graph: Graph, roles: Mapping[str, ParameterRole]) -> dict[str, ParameterRole]:
    """The roles, where the bias of a weight that makes such a factor beside others has the same parts as the weight."""
    known = open_factors(graph, roles)

    def one(role: ParameterRole) -> ParameterRole:
        if role.role != "bias" or not known.get(role.owner) or role.parts or len(role.shape) != 1:
            return role
        parts = roles[role.owner].parts
        return replace(role, parts=parts, layout=with_parts(role.layout, parts, role.shape))

    return {name: one(role) for name, role in roles.items()}


def _open(graph: Graph, op: Op, roles: Mapping[str, ParameterRole], makers: Mapping[int, str]) -> _Factor | None:
    """The factor of one product that can start at one."""
    if len(set(op.inputs)) != 2:
        return None
    first = [_factor(graph, v, roles, makers) for v in op.inputs]
    read = frozenset(f.reads for f in first if f is not None)
    one, two = (_factor(graph, v, roles, makers, read) for v in op.inputs)
    if one is None or two is None or (one.maker, one.part) == (two.maker, two.part):
        return None
    if not _same_input(graph, one, two, op, roles):
        return None
    can = [a for a, b in ((one, two), (two, one)) if _can_open(graph, roles, a) and _is_unbounded(graph, b)]
    return max(can, key=lambda f: (f.at, f.part or 0), default=None)


def _factor(
    graph: Graph,
    value: int,
    roles: Mapping[str, ParameterRole],
    makers: Mapping[int, str],
    read: frozenset[int] = frozenset(),
) -> _Factor | None:
    """The map behind a value through views and functions of one operand; else the value that these begin with.

    Args:
        graph: the graph.
        value: the factor.
        roles: of the parameters.
        makers: operation of a map -> name of its weight.
        read: values that the other factor may be made of: one of them is where this one begins.
    """
    at, path = value, tuple[int, ...]()
    for _ in range(_NEAR):
        op = None if at in read else graph.producer(at)
        if op is None or (op.index not in makers and op.name not in _THROUGH and not _is_function(op)):
            return _Factor(value, at, path=path)
        if op.index in makers:
            part = _part(graph, roles[makers[op.index]], op, path, value)
            return _Factor(value, op.inputs[0], makers[op.index], op.index, path, part)
        path = (op.index, *path)
        at = op.inputs[0]
    return None


def _part(graph: Graph, role: ParameterRole, op: Op, path: tuple[int, ...], value: int) -> int | None:
    """Which of the maps in a weight a value is made by; None where it holds one, -1 where it is none of them alone."""
    if not role.parts:
        return None
    held = held_units(graph, op, path, value, sum(part.size for part in role.parts))
    places = [list(range(part.start, part.start + part.size)) for part in role.parts]
    return places.index(held) if held in places else -1


def _is_function(op: Op) -> bool:
    return op.name in ELEMENTWISE and len(set(op.inputs)) == 1


def _same_input(graph: Graph, one: _Factor, two: _Factor, op: Op, roles: Mapping[str, ParameterRole]) -> bool:
    """Whether both read one value; a factor without a map may be that value."""
    if one.reads == two.reads:
        return True
    if one.maker and two.maker:
        return False
    held, made = (one, two) if two.maker else (two, one)
    back = _factor(graph, made.reads, roles, {})
    return back is not None and back.reads == held.reads and made.reads in op.inputs


def _can_open(graph: Graph, roles: Mapping[str, ParameterRole], factor: _Factor) -> bool:
    role = roles.get(factor.maker)
    if role is None or role.use is None or not role.bias or not _is_straight(graph, factor):
        return False
    return role.branch is None and not role.use.norm_after and not role.use.chain and factor.part != -1


def _is_straight(graph: Graph, factor: _Factor) -> bool:
    """Whether nothing but views lies between the map and the product."""
    return all(graph.ops[index].name in _THROUGH for index in factor.path)


def _is_unbounded(graph: Graph, factor: _Factor) -> bool:
    """Whether the functions between a map, or what is read, and the product let large numbers through."""
    ops = [graph.ops[index] for index in factor.path if graph.ops[index].name not in _THROUGH]
    function = FoundActivation("factor", fn=lambda x: _applied(ops, x))
    return not ops or not (is_bounded(function) or is_limited(function))


def _applied(ops: list[Op], numbers: Any) -> Any:
    import torch

    values = torch.as_tensor(numbers)
    for op in ops:
        values = run(op, dict.fromkeys(op.inputs, values).__getitem__)[0]
    return values.numpy()
