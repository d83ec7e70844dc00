"""Products of two maps of one input, and which of the two factors can start at one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fanin.graph.ir import Graph, Op
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import DROPOUT, ELEMENTWISE, VIEWS
from fanin.recipes.engine.activation_facts import is_bounded, is_limited

__all__ = ["open_factors"]

_THROUGH = (VIEWS | DROPOUT) - {"cat", "stack", "hstack", "vstack"}
_NEAR = 12  # operations between a map and the product that its output takes part in


@dataclass(frozen=True, slots=True)
class _Factor:
    """One factor of a product.

    Attributes:
        reads: the value that it is a function of.
        maker: name of the map that makes it; "" where it is that value itself.
        at: index of that map's operation.
        is_straight: nothing but views lies between the map and the product.
    """

    reads: int
    maker: str = ""
    at: int = -1
    is_straight: bool = True


def open_factors(graph: Graph, roles: Mapping[str, ParameterRole]) -> frozenset[str]:
    """Weights whose output multiplies another unbounded function of the same input, and whose bias can be one.

    Such a product has twice the power of its input, in a stack of n of them 2^n times: with one factor at one it has
    the power of the other. Of two plain maps the later one is meant. Products of a residual branch, and factors
    beside a bounded one (a sigmoid), keep the stream's size as they are.
    """
    makers = {u.op: r.name for r in roles.values() if r.role == "weight" and len(r.uses) == 1 for u in r.uses}
    found = (_open(graph, op, roles, makers) for op in graph.live_ops() if op.name == "mul")
    return frozenset(name for name in found if name)


def _open(graph: Graph, op: Op, roles: Mapping[str, ParameterRole], makers: Mapping[int, str]) -> str:
    """The weight of one product that can start at one; "" where there is none."""
    if len(set(op.inputs)) != 2:
        return ""
    one, two = (_factor(graph, v, makers) for v in op.inputs)
    if one is None or two is None or one.maker == two.maker or not _same_input(graph, one, two, op):
        return ""
    can = [a for a, b in ((one, two), (two, one)) if _can_open(roles, a) and _is_unbounded(roles, b)]
    return max(can, key=lambda f: f.at).maker if can else ""


def _factor(graph: Graph, value: int, makers: Mapping[int, str]) -> _Factor | None:
    """The map behind a value through views and functions of one operand; else the value that these begin with."""
    straight = True
    for _ in range(_NEAR):
        op = graph.producer(value)
        if op is None or (op.index not in makers and op.name not in _THROUGH and not _is_function(op)):
            return _Factor(value)
        if op.index in makers:
            return _Factor(op.inputs[0], makers[op.index], op.index, straight)
        straight = straight and op.name in _THROUGH
        value = op.inputs[0]
    return None


def _is_function(op: Op) -> bool:
    return op.name in ELEMENTWISE and len(set(op.inputs)) == 1


def _same_input(graph: Graph, one: _Factor, two: _Factor, op: Op) -> bool:
    """Whether both read one value; a factor without a map may be that value."""
    if one.reads == two.reads:
        return True
    if one.maker and two.maker:
        return False
    held, made = (one, two) if two.maker else (two, one)
    back = _factor(graph, made.reads, {})
    return back is not None and back.reads == held.reads and made.reads in op.inputs


def _can_open(roles: Mapping[str, ParameterRole], factor: _Factor) -> bool:
    role = roles.get(factor.maker)
    if role is None or role.use is None or not role.bias or not factor.is_straight:
        return False
    return role.branch is None and not role.use.norm_after and not role.use.chain and not role.parts


def _is_unbounded(roles: Mapping[str, ParameterRole], factor: _Factor) -> bool:
    role = roles.get(factor.maker)
    activation = role.use.activation if role is not None and role.use is not None else None
    return factor.is_straight or activation is None or not (is_bounded(activation) or is_limited(activation))
