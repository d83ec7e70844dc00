"""Which units of a cell's parameters belong to which gate, and which columns of its weights read the state.

The numbers 0, 1, 2, ... are sent from the units of a weight or bias to each pre-activation, through whatever the model
does in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.feeding import Family, Feeding
from fanin.graph.analysis.gates import Group
from fanin.graph.analysis.loops import Run
from fanin.graph.analysis.preactivations import Root, Term
from fanin.graph.ir import Graph, Op
from fanin.graph.recording.replay import run
from fanin.model.operations import JOINS, LEFT_PRODUCTS, SAME_NUMBERS, VIEWS

__all__ = ["axis_at", "bias_gates", "columns_of", "held_units", "map_gates", "pass_through"]

_ALIKE = VIEWS - JOINS
_MOST = 4_000_000

Gates = Mapping[int, tuple[Group, ...]]


def unit_axis(graph: Graph, use: Contraction) -> int:
    """The axis of a map's result along which its units lie: channels, rows of W @ x, or the last one."""
    op = graph.ops[use.op]
    if "tap" in use.axes:
        return 1
    left = op.name in LEFT_PRODUCTS and op.inputs.index(use.weight) < min(map(op.inputs.index, use.data))
    return -2 if left and len(graph.values[op.output].shape) > 1 else -1


def axis_at(analysis: Analysis, use: Contraction, roots: Sequence[Root]) -> int:
    """The axis of the pre-activations along which the units of a map lie, from the right."""
    out, axis = analysis.graph.ops[use.op].output, unit_axis(analysis.graph, use)
    shape = analysis.graph.values[out].shape
    start = _along(list(range(shape[axis])), shape, axis)
    for root in roots:
        env: dict[int, Any] = {out: start}
        for index in root.path:
            _in_cell(analysis, analysis.graph.ops[index], env)
        found = env.get(root.value)
        varied = [] if found is None else [a for a in range(found.dim()) if bool((found.diff(dim=a) != 0).any())]
        if found is not None and len(varied) == 1:
            return varied[0] - len(analysis.graph.values[root.value].shape)
    return axis - len(shape) if axis > 0 else axis


def map_gates(
    analysis: Analysis, seen: Iterable[Sighting], roots: Sequence[Root], gates: Gates, axis: int
) -> tuple[Run, ...]:
    """The gates along the output units of a weight; several sightings where it is cut before it is used."""
    found: list[tuple[str, list[int]]] = []
    total = 0
    for s in seen:
        out = analysis.graph.ops[s.use.op].output
        total, own = _units(analysis, s), unit_axis(analysis.graph, s.use)
        held = _held_by_weight(analysis, s, total)
        shape = analysis.graph.values[out].shape
        if held is None or shape[own] != len(held):
            return ()
        found += _pieces(analysis, out, _along(held, shape, own), roots, gates, axis)
    return _tiling(found, total)


def bias_gates(
    analysis: Analysis, terms: Sequence[Term], leaf: int, roots: Sequence[Root], gates: Gates, axis: int
) -> tuple[Run, ...]:
    """The gates along a vector that is added to pre-activations; several terms where it is cut before."""
    shape = analysis.graph.values[leaf].shape
    size = max(shape, default=0)
    if not size or size != analysis.graph.values[leaf].numel:
        return ()
    found = [piece for term in terms for piece in _bias_pieces(analysis, term, leaf, roots, gates, axis)]
    return _tiling(found, size)


def _bias_pieces(
    analysis: Analysis, term: Term, leaf: int, roots: Sequence[Root], gates: Gates, axis: int
) -> list[tuple[str, list[int]]]:
    graph, value = analysis.graph, term.value
    shape = graph.values[leaf].shape
    size = max(shape)
    if term.beside in analysis.contractions:
        out = graph.ops[term.beside].output
        sizes, own = graph.values[out].shape, unit_axis(graph, analysis.contractions[term.beside][0])
        if value != leaf or sizes[own] != size:
            return []
        return _pieces(analysis, out, _along(list(range(size)), sizes, own), roots, gates, axis)
    env: dict[int, Any] = {leaf: _along(list(range(size)), shape, shape.index(size))}
    for op in graph.ops:
        if value in env or op.index > max((r.path[-1] for r in roots if r.path), default=0):
            break
        if any(i in env for i in op.inputs) and analysis.dependence.is_weight(op.output):
            _in_cell(analysis, op, env)
    return _pieces(analysis, value, env[value], roots, gates, axis) if value in env else []


def _units(analysis: Analysis, s: Sighting) -> int:
    axes = s.link.axes or ()
    shape = analysis.graph.values[s.link.value].shape
    return shape[axes.index("out")] if axes.count("out") == 1 else 0


def _held_by_weight(analysis: Analysis, s: Sighting, total: int) -> list[int] | None:
    """The units of the parameter that the weight of one use holds, in order."""
    shape = analysis.graph.values[s.link.value].shape
    if not total or analysis.graph.values[s.link.value].numel > _MOST or s.link.axes is None:
        return None
    if not s.link.ops:
        return list(range(total))
    env: dict[int, Any] = {s.link.value: _along(list(range(total)), shape, s.link.axes.index("out"))}
    for index in s.link.ops:
        _in_cell(analysis, analysis.graph.ops[index], env)
    if s.use.weight not in env:
        return None
    held: list[int] = sorted(set(env[s.use.weight].reshape(-1).tolist()))
    return held


def _along(numbers: Sequence[int], shape: Sequence[int], axis: int) -> Any:
    import torch

    view = [1] * len(shape)
    view[axis] = len(numbers)
    return torch.tensor(numbers).view(view).expand(tuple(shape))


def _pieces(
    analysis: Analysis, start: int, numbers: Any, roots: Sequence[Root], gates: Gates, axis: int
) -> list[tuple[str, list[int]]]:
    """(letter, units) of every gate that these units reach."""
    found = []
    for root in roots:
        env: dict[int, Any] = {start: numbers}
        for index in root.path:
            _in_cell(analysis, analysis.graph.ops[index], env)
        if root.value not in env:
            continue
        row = env[root.value].movedim(axis, 0).flatten(1)[:, 0].tolist() if env[root.value].dim() > 1 else []
        for group in gates.get(root.value, ()):
            units = [row[p] for p in group.places if p < len(row) and row[p] >= 0]
            found.append((group.letter, units))
    return found


def held_units(graph: Graph, made: Op, path: Iterable[int], value: int, units: int) -> list[int]:
    """The units of a map that a value holds, in order; empty where they cannot be followed.

    Args:
        graph: the graph.
        made: the operation that applies the map.
        path: operations between it and the value, in order.
        value: made of the map's output by those operations.
        units: how many outputs the map has.
    """
    shape = graph.values[made.output].shape
    axis = 1 if "conv" in made.name else len(shape) - 1
    if shape[axis] != units:
        return []
    env: dict[int, Any] = {made.output: _along(list(range(units)), shape, axis)}
    for index in path:
        pass_through(graph, graph.ops[index], env)
    held: list[int] = sorted(set(env[value].reshape(-1).tolist())) if value in env else []
    return held


def pass_through(graph: Graph, op: Op, env: dict[int, Any]) -> None:
    """Send numbers through one operation: a view moves them, anything that keeps the shape leaves them in place."""
    read = [i for i in op.inputs if i in env]
    if not read:
        return
    shape = graph.values[op.output].shape
    if (op.name in _ALIKE and op.name not in SAME_NUMBERS) or op.name in JOINS:
        _view(graph, op, env)
    else:
        _keep(env, op.output, env[read[0]], shape)


def _in_cell(analysis: Analysis, op: Op, env: dict[int, Any]) -> None:
    """Likewise, and through a norm that is written out."""
    pass_through(analysis.graph, op, env)
    norm = analysis.inside_norm.get(op.index)
    if norm is not None and norm.input in env:
        env[norm.output] = env[norm.input]


def _keep(env: dict[int, Any], out: int, numbers: Any, shape: tuple[int, ...]) -> None:
    try:
        env[out] = numbers.expand(shape)
    except RuntimeError:  # a sum over an axis: these are units no more
        return


def _view(graph: Graph, op: Op, env: dict[int, Any]) -> None:
    import torch

    def number_of(value: int) -> Any:
        if value in env:
            return env[value]
        known, maker = graph.data.get(value), graph.producer(value)
        if known is None and maker is not None and not maker.inputs:  # made on the spot, such as an arange
            known = run(maker, env.__getitem__)[graph.values[value].slot]
        if known is None or known.is_floating_point() or known.is_complex():  # numbers, such as padding, are no units
            return torch.full(graph.values[value].shape, -1)
        return known

    try:
        results = run(op, number_of)
    except Exception:  # a view that needs numbers which are not known: these units are lost
        return
    env.update(zip(op.outputs, results, strict=False))


def _tiling(found: Sequence[tuple[str, list[int]]], total: int) -> tuple[Run, ...]:
    """Runs of units, side by side or in turn, that cover all of them once; () where they do not."""
    runs: dict[tuple[int, int], Run] = {}
    for letter, units in found:
        unique = sorted(set(units))
        if not unique:
            continue
        step = unique[1] - unique[0] if len(unique) > 1 else 1
        if unique != list(range(unique[0], unique[-1] + 1, step)):
            return ()
        runs.setdefault((unique[0], len(unique)), Run(letter, unique[0], len(unique), step))
    ordered = tuple(runs[key] for key in sorted(runs))
    return ordered if _are_beside(ordered, total) or _are_in_turn(ordered, total) else ()


def _are_beside(runs: Sequence[Run], total: int) -> bool:
    ends = [0, *(r.start + r.size for r in runs)]
    return all(r.step == 1 for r in runs) and [r.start for r in runs] == ends[:-1] and ends[-1] == total


def _are_in_turn(runs: Sequence[Run], total: int) -> bool:
    count = len(runs)
    turns = [(r.start, r.step) for r in runs]
    return turns == [(n, count) for n in range(count)] and {r.size * count for r in runs} == {total}


# ---------------------------------------------------------------------- columns
def columns_of(analysis: Analysis, found: Feeding, hidden: set[Family], s: Sighting) -> tuple[Run, ...]:
    """Along the input units of a weight, what comes from the cell's state and what does not; () where all does."""
    value = s.use.data[0]
    rank = len(analysis.graph.values[value].shape)
    axis = unit_axis(analysis.graph, s.use) % rank
    merged: list[Run] = []
    for piece, size in _joined(analysis, value, axis):
        fed = not hidden.isdisjoint(found.values.get(piece, {}))
        tag, start = "state" if fed else "input", sum(r.size for r in merged)
        if merged and merged[-1].tag == tag:
            merged[-1] = Run(tag, merged[-1].start, merged[-1].size + size)
        else:
            merged.append(Run(tag, start, size))
    return tuple(merged) if len(merged) > 1 else ()


def _joined(analysis: Analysis, value: int, axis: int) -> list[tuple[int, int]]:
    """The values that are joined along the feature axis, with their sizes."""
    op = analysis.graph.producer(value)
    shape = analysis.graph.values[value].shape
    if op is not None and op.name in ("cat", "hstack", "concat") and isinstance(op.args[0], (list, tuple)):
        at = op.arg(1, "dim", 0 if op.name != "hstack" else 1)
        if isinstance(at, int) and at % len(shape) == axis:
            return [p for ref in op.args[0] for p in _joined(analysis, ref.index, axis)]
    same = op is not None and (op.name in SAME_NUMBERS or op.name == "dropout")
    if same and op is not None:
        return _joined(analysis, op.inputs[0], axis)
    return [(value, shape[axis])]
