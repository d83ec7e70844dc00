"""Several maps in one weight: which output units go where.

A fused projection is split somewhere after (or, as a weight, before) its contraction. The numbers 0, 1, 2, ... are
sent through the same splits and views as the output units, so every piece tells which units it holds, whatever the
model did to separate them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.units import pass_through
from fanin.graph.analysis.walks import downstream
from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.graph.roles.data import Part
from fanin.graph.roles.tags import tag
from fanin.layout import Layout
from fanin.model.operations import CASTS, DROPOUT, JOINS, VIEWS

__all__ = ["parts_of"]

_MAX_ELEMENTS = 4_000_000


def parts_of(
    analysis: Analysis,
    seen: Sequence[Sighting],
    layout: Layout,
    shape: Sequence[int],
) -> tuple[Part, ...]:
    """The parts of a weight along its output axis, in order; empty for one map or interleaved ones."""
    if len(layout.out_axes) != 1 or layout.groups > 1 or layout.lookup or layout.view:
        return ()
    units = shape[layout.out_axes[0]]
    if len({s.use.op for s in seen}) > 1 and all(s.link.ops for s in seen):
        found = list(_split_before(analysis, seen, layout, shape))
    else:
        found = list(_split_after(analysis, seen[0].use, units))
    return _tiling(found, units)


def _tiling(found: Sequence[tuple[str, Sequence[int]]], units: int) -> tuple[Part, ...]:
    """Parts, if the pieces are runs of neighbouring units that cover all of them once."""
    merged: dict[tuple[int, int], list[str]] = {}
    for name, held in found:
        unique = sorted(set(held))
        if not unique or len(unique) == units or unique != list(range(unique[0], unique[-1] + 1)):
            continue
        merged.setdefault((unique[0], len(unique)), []).append(name)
    parts = tuple(
        Part(tag="+".join(dict.fromkeys(names)), start=start, size=size)
        for (start, size), names in sorted(merged.items())
    )
    ends = [p.start + p.size for p in parts]
    starts = [p.start for p in parts]
    return parts if len(parts) > 1 and starts == [0, *ends[:-1]] and ends[-1] == units else ()


def _split_after(
    analysis: Analysis,
    use: Contraction,
    units: int,
) -> Iterator[tuple[str, list[int]]]:
    graph = analysis.graph
    out = graph.ops[use.op].output
    pieces: dict[int, list[str]] = {}
    for event in downstream(analysis, out):
        if event.piece is not None:
            pieces.setdefault(event.piece, []).append(tag(analysis, event))
    if len(pieces) < 2:
        return
    value = graph.values[out]
    axis = _unit_axis(use, value.shape, units)
    if axis is None or value.numel > _MAX_ELEMENTS:
        return
    env = _send(analysis, out, _numbered(value.shape, axis), set(pieces))
    for piece, tags in pieces.items():
        if piece in env:
            yield "+".join(sorted(dict.fromkeys(tags))), _held(env[piece], units)


def _unit_axis(use: Contraction, shape: Sequence[int], units: int) -> int | None:
    axis = 1 if "tap" in use.axes and len(shape) > 2 else len(shape) - 1
    return axis if shape[axis] == units else None


def _numbered(shape: Sequence[int], axis: int) -> Any:
    import torch

    view = [1] * len(shape)
    view[axis] = shape[axis]
    return torch.arange(shape[axis]).view(view).expand(tuple(shape))


def _held(piece: Any, units: int) -> list[int]:
    """The units that occur in a piece, in order."""
    import torch

    present = torch.zeros(units, dtype=torch.bool)
    numbers = _without_repeats(piece).reshape(-1)
    present[numbers[numbers >= 0]] = True  # -1: padding, which is no unit
    return list(present.nonzero().reshape(-1).tolist())


def _without_repeats(piece: Any) -> Any:
    """The piece without what an expanded axis repeats: one number in memory is one unit, however often it is met."""
    return piece[tuple(slice(1) if step == 0 else slice(None) for step in piece.stride())]


def _send(analysis: Analysis, start: int, tensor: Any, wanted: set[int]) -> dict[int, Any]:
    """Values of the wanted pieces when `tensor` is sent through views and additive biases from `start`."""
    graph, signals = analysis.graph, analysis.signals
    env: dict[int, Any] = {start: tensor}
    last = max(graph.values[w].op or 0 for w in wanted)
    for op in graph.ops[(graph.values[start].op or 0) + 1 : last + 1]:
        if not any(i in env for i in op.inputs):
            continue
        alone = len(signals(op)) == 1
        if op.name in VIEWS and alone and op.name not in JOINS:
            _run(op, env, graph.data)
        elif alone and len(op.outputs) == 1 and graph.values[op.output].shape == graph.values[signals(op)[0]].shape:
            env[op.output] = next(env[i] for i in (*signals(op), *op.inputs) if i in env)
        elif op.name in DROPOUT and op.inputs[0] in env:
            env[op.output] = env[op.inputs[0]]
    return env


def _run(op: Op, env: dict[int, Any], data: Any) -> None:
    if op.name in CASTS:
        env[op.output] = env[op.inputs[0]]
        return
    try:
        results = run(op, lambda i: env[i] if i in env else data[i])
    except Exception:  # a view whose other operands are not known: the piece stays unknown
        return
    env.update(zip(op.outputs, results, strict=False))


def _split_before(
    analysis: Analysis,
    seen: Sequence[Sighting],
    layout: Layout,
    shape: Sequence[int],
) -> Iterator[tuple[str, list[int]]]:
    """A stacked weight that is cut into pieces, each with a contraction of its own."""
    graph = analysis.graph
    for sighting in seen:
        use, link = sighting.use, sighting.link
        total = 1
        for n in shape:
            total *= n
        if total > _MAX_ELEMENTS:
            return
        env: dict[int, Any] = {link.value: _numbered(shape, layout.out_axes[0])}
        for index in link.ops:
            pass_through(graph, graph.ops[index], env)  # numbers stand for units: nothing is computed with them
        if use.weight in env:
            held = _held(env[use.weight], shape[layout.out_axes[0]])
            again = list(_split_after(analysis, use, len(held)))
            names = dict.fromkeys(tag(analysis, e) for e in downstream(analysis, graph.ops[use.op].output))
            yield from [(name, [held[i] for i in local]) for name, local in again] or [("+".join(sorted(names)), held)]
