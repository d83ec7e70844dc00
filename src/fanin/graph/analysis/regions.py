"""Regions: elementwise operations that depend on one tensor, taken together as one function of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanin.graph.analysis.activations import Array, FoundActivation, identify
from fanin.graph.analysis.dependence import Dependence
from fanin.graph.ir import Graph, Op, Ref, map_template
from fanin.graph.recording.replay import run
from fanin.model.operations import ELEMENTWISE, SAME_NUMBERS

__all__ = ["Regions", "regions"]

_COMPARISONS = frozenset(
    {
        "gt",
        "lt",
        "ge",
        "le",
        "eq",
        "ne",
        "logical_not",
        "logical_and",
        "logical_or",
        "bitwise_and",
        "bitwise_not",
        "isnan",
    }
)
_CASTS = SAME_NUMBERS | {"view_as"}
_TURNS = frozenset({"t", "T", "mT", "H", "mH", "adjoint"})  # torch warns where they turn a single number
_UNIVARIATE = ELEMENTWISE | _COMPARISONS | _CASTS
_OWN_PARAMETER = frozenset({"prelu"})
# what an unknown number counts as (learned, or a buffer on meta): nn.PReLU starts at 0.25, others change nothing
_INITIAL: Mapping[str, float] = {"prelu": 0.25, "add": 0.0, "sub": 0.0}


@dataclass(frozen=True, slots=True)
class Regions:
    """The univariate regions of a graph.

    Attributes:
        root: value index -> the value that it is a function of.
        ends: root -> values of its region that something outside the region reads.
        functions: value index -> the activation, for every end.
    """

    root: Mapping[int, int]
    ends: Mapping[int, tuple[int, ...]]
    functions: Mapping[int, FoundActivation]


def regions(graph: Graph, dependence: Dependence, inside_norms: frozenset[int] = frozenset()) -> Regions:
    """Group elementwise operations by the one tensor they depend on and identify what each region computes."""
    root: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for op in graph.live_ops():
        base = None if op.index in inside_norms else _base(graph, op, dependence, root)
        if base is not None:
            for out in op.outputs:
                root[out] = base
                members.setdefault(base, []).append(op.index)
    ends = {base: _ends(graph, ops, root, base) for base, ops in members.items()}
    cache: dict[Any, FoundActivation] = {}
    functions = {v: _function(graph, v, base, root, cache) for base, values in ends.items() for v in values}
    return Regions(root, ends, functions)


def _base(graph: Graph, op: Op, dependence: Dependence, root: Mapping[int, int]) -> int | None:
    """The one value that an elementwise op is a function of, if there is one."""
    if op.name not in _UNIVARIATE or len(op.outputs) != 1:
        return None
    bases: set[int] = set()
    for i in op.inputs:
        if i in root:
            bases.add(root[i])
        elif dependence.is_signal(i):
            bases.add(i)
        elif not _is_number(graph, op, i, dependence):
            return None
    if len(bases) != 1:
        return None
    (base,) = bases
    return base if graph.values[base].shape == graph.values[op.output].shape else None


def _is_number(graph: Graph, op: Op, value: int, dependence: Dependence) -> bool:
    """Whether an operand that is not the signal is one number (or the slopes of a PReLU)."""
    v = graph.values[value]
    return (
        v.numel == 1
        or _uniform(graph, value) is not None
        or (dependence.is_weight(value) and op.name in _OWN_PARAMETER)
    )


def _ends(graph: Graph, ops: list[int], root: Mapping[int, int], base: int) -> tuple[int, ...]:
    outputs = {o.value for o in graph.outputs}
    found = []
    for index in ops:
        for v in graph.ops[index].outputs:
            outside = any(
                graph.is_live(c) and not any(root.get(o) == base for o in c.outputs) for c in graph.consumers(v)
            )
            if (outside or v in outputs) and graph.values[v].is_float:
                found.append(v)
    return tuple(found)


def _function(
    graph: Graph, value: int, base: int, root: Mapping[int, int], cache: dict[Any, FoundActivation]
) -> FoundActivation:
    ops = _region_ops(graph, value, base, root)
    key = _signature(graph, ops, base)
    if key not in cache:
        names = tuple(op.name for op in ops if op.name not in _CASTS)
        found = identify(_replayer(graph, ops, value, base), names, _constants(ops))
        cache[key] = replace(found, is_guess=_has_unknown(graph, ops, base))
    return cache[key]


def _has_unknown(graph: Graph, ops: list[Op], base: int) -> bool:
    """Whether a region reads a number that is not known."""
    inside = {base, *(v for op in ops for v in op.outputs)}
    outside = {i for op in ops if op.name not in (_CASTS | _OWN_PARAMETER) for i in op.inputs} - inside
    return any(_number_of(graph, i) == "?" for i in outside)


def _region_ops(graph: Graph, value: int, base: int, root: Mapping[int, int]) -> list[Op]:
    todo, found = [value], set[int]()
    while todo:
        v = todo.pop()
        op = graph.producer(v)
        if v == base or op is None or op.index in found or root.get(v) != base:
            continue
        found.add(op.index)
        todo += op.inputs
    return [graph.ops[i] for i in sorted(found)]


def _signature(graph: Graph, ops: list[Op], base: int) -> Any:
    local = {base: -1}
    parts = []

    def known(ref: Ref) -> tuple[str, float | str]:
        return "ref", local[ref.index] if ref.index in local else _number_of(graph, ref.index)

    for n, op in enumerate(ops):
        local.update(dict.fromkeys(op.outputs, n))
        parts.append((op.name, repr(map_template((op.args, dict(op.kwargs)), known))))
    return tuple(parts)


_FILLED = {"zeros_like": 0.0, "zeros": 0.0, "new_zeros": 0.0, "ones_like": 1.0, "ones": 1.0, "new_ones": 1.0}


def _uniform(graph: Graph, value: int) -> float | None:
    """The one number that a tensor made on the spot is full of."""
    op = graph.producer(value)
    if op is None:
        return None
    if op.name in ("full_like", "full", "new_full"):
        filling = op.arg(1, "fill_value") if op.name != "new_full" else op.arg(2, "fill_value")
        return float(filling) if isinstance(filling, (int, float)) else None
    return _FILLED.get(op.name)


def _number_of(graph: Graph, value: int, depth: int = 0, *, reader: str = "mul") -> float | str:
    """The number behind a one-element operand that is no part of the region; "?" where it is not known."""
    data = graph.data.get(value)
    if data is not None and data.numel() == 1:
        return float(data.reshape(()).item())
    op, filling = graph.producer(value), _uniform(graph, value)
    if filling is not None:
        return filling
    if op is None or depth > 8:
        return _INITIAL.get(reader, 1.0) if op is None and graph.values[value].is_float else "?"
    numbers = {i: _number_of(graph, i, depth + 1, reader=op.name) for i in op.inputs}
    if (op.name in _CASTS or op.name in _TURNS) and op.inputs:
        return numbers[op.inputs[0]]
    if "?" in numbers.values():
        return "?"
    return _computed(op, numbers)


def _computed(op: Op, numbers: Mapping[int, float | str]) -> float | str:
    import torch

    def tensor_of(index: int) -> Any:
        return torch.tensor(float(numbers[index]), dtype=torch.float64)

    try:
        result = run(op, tensor_of)[0]
        return float(result.reshape(()).item()) if not result.is_meta else "?"
    except Exception:  # whatever it is, it is no constant number
        return "?"


def _flat(tree: Any) -> list[Any]:
    return [leaf for item in tree for leaf in _flat(item)] if isinstance(tree, (tuple, list)) else [tree]


def _constants(ops: list[Op]) -> tuple[float, ...]:
    return tuple(
        float(a) for op in ops for a in _flat(op.args) if isinstance(a, (int, float)) and not isinstance(a, bool)
    )


def _replayer(graph: Graph, ops: list[Op], value: int, base: int) -> Callable[[Array], Array]:
    """The region as a function on float64 arrays."""

    def fn(x: Array) -> Array:
        import torch

        flat = np.asarray(x, dtype=np.float64)
        env: dict[int, Any] = {base: torch.from_numpy(flat.reshape(-1).copy())}
        with torch.no_grad():
            for op in ops:
                env[op.output] = _run(graph, op, env)
        made = env[value]
        if made.is_complex():  # no activation: it has no place on the real line
            return np.full(flat.shape, np.nan)
        return np.asarray(made.double().numpy().reshape(flat.shape))

    return fn


def _run(graph: Graph, op: Op, env: dict[int, Any]) -> Any:
    import torch

    if op.name in _CASTS:
        return env[next(i for i in op.inputs if i in env)]

    def fetch(ref: Ref) -> Any:
        if ref.index in env:
            return env[ref.index].clone() if op.inplace else env[ref.index]
        number = _number_of(graph, ref.index, reader=op.name)
        if isinstance(number, str):  # unknown: what changes nothing, so that a factor stays a factor
            number = _INITIAL.get(op.name, 1.0)
        return torch.tensor([number] if op.name in _OWN_PARAMETER else number, dtype=torch.float64)

    args = map_template(op.args, fetch)
    result = op.func(*args, **map_template(dict(op.kwargs), fetch))
    return args[0] if op.inplace else result
