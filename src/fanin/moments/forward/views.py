"""Views: the same numbers in another shape. The gradient of a view keeps the same structure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fanin.graph.ir import Op, Ref
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "dimension_order"]


def _source(frame: Frame, op: Op) -> JointMoments:
    return frame.moments(op.arg(0, "input"))


def _viewed(frame: Frame, op: Op, m: JointMoments) -> Signal:
    read = frame.signals[op.inputs[0]]
    return replace(frame.made(op, m, leaf=False), positive=read.positive, law=read.law)


def _reshape(frame: Frame, op: Op) -> Signal:
    return _viewed(frame, op, _source(frame, op).reshaped(frame.graph.value(op.output).shape))


def dimension_order(frame: Frame, op: Op) -> list[int]:
    """Where each dimension of a transposing op's result comes from."""
    rank = len(_source(frame, op).shape)
    order = list(range(rank))
    if op.name == "permute":
        given = op.args[1:] or (op.kwargs["dims"],)
        dims = given[0] if len(given) == 1 and not isinstance(given[0], int) else given
        return [int(d) % rank for d in dims]
    if op.name == "movedim":
        return _moved_order(rank, op.arg(1, "source"), op.arg(2, "destination"))
    if op.name == "T":
        return order[::-1]
    if rank < 2:
        return order
    a, b = (rank - 2, rank - 1) if op.name != "transpose" else (op.arg(1, "dim0") % rank, op.arg(2, "dim1") % rank)
    order[a], order[b] = order[b], order[a]
    return order


def _moved_order(rank: int, source: int | Sequence[int], destination: int | Sequence[int]) -> list[int]:
    src = [source] if isinstance(source, int) else list(source)
    dst = [destination] if isinstance(destination, int) else list(destination)
    order = [d for d in range(rank) if d not in {s % rank for s in src}]
    for d, s in sorted((d % rank, s % rank) for d, s in zip(dst, src, strict=True)):
        order.insert(d, s)
    return order


def _reordered(frame: Frame, op: Op) -> Signal:
    return _viewed(frame, op, _source(frame, op).permuted(dimension_order(frame, op)))


def _expand(frame: Frame, op: Op) -> Signal:
    return _viewed(frame, op, _source(frame, op).expanded(frame.graph.value(op.output).shape))


def _pieces(frame: Frame, op: Op) -> list[Signal]:
    """chunk, split and the like: the same law, fewer entries along one dimension."""
    m = _source(frame, op)
    shapes = [frame.graph.value(v).shape for v in op.outputs]
    if op.name == "unbind":
        dim = int(op.arg(1, "dim", 0)) % len(m.shape)
        return frame.selection(op, [_viewed(frame, op, m.part(dim, i, 1).reshaped(s)) for i, s in enumerate(shapes)])
    dim = int(op.arg(2, "dim", 0)) % len(m.shape)
    starts = itertools.accumulate((s[dim] for s in shapes), initial=0)
    parts = [m.part(dim, start, s[dim]) for start, s in zip(starts, shapes, strict=False)]
    return frame.selection(op, [_viewed(frame, op, part) for part in parts])


def _narrowed(frame: Frame, op: Op) -> Signal:
    m = _source(frame, op)
    shape = frame.graph.value(op.output).shape
    dim = int(op.arg(1, "dim", 0)) % len(m.shape)
    start = op.arg(2, "index" if op.name == "select" else "start", 0)
    start = start % m.shape[dim] if isinstance(start, int) else 0
    if op.name == "select":
        return frame.selection(op, [_viewed(frame, op, m.part(dim, start, 1).reshaped(shape))])[0]
    return frame.selection(op, [_viewed(frame, op, m.part(dim, start, shape[dim]))])[0]


def _getitem(frame: Frame, op: Op) -> Signal:
    """Indexing by numbers, slices, None and dots; by tensors it is a gather."""
    m = _source(frame, op)
    index = op.arg(1)
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Ref | list | bool) for i in index):
        return _gathered(frame, op)
    used = sum(i is not None and i is not Ellipsis for i in index)
    dim = 0
    for item in index:
        if item is None:
            continue
        if item is Ellipsis:
            dim += len(m.shape) - used
            continue
        taken = [item % m.shape[dim]] if isinstance(item, int) else range(*_slice(item).indices(m.shape[dim]))
        if len(taken) == 0:
            raise NoRuleError("an empty slice")
        if len(taken) != m.shape[dim]:
            m = m.part(dim, min(taken), len(taken))
        dim += 1
    made = _viewed(frame, op, m.reshaped(frame.graph.value(op.output).shape))
    if math.prod(m.shape) == math.prod(_source(frame, op).shape):
        return made
    return frame.selection(op, [made])[0]


def _slice(item: object) -> slice:
    if not isinstance(item, slice) or any(isinstance(b, Ref) for b in (item.start, item.stop, item.step)):
        raise NoRuleError(f"indexing by {item!r}")
    return item


def _gathered(frame: Frame, op: Op) -> Signal:
    from fanin.moments.forward.gathers import gathered

    return gathered(frame, op)


def _shuffled(frame: Frame, op: Op) -> Signal:
    """Entries in another order along dimensions: the same moments."""
    m = _source(frame, op)
    if math.prod(m.shape) != frame.graph.value(op.output).numel:
        raise NoRuleError(op.name)
    return _viewed(frame, op, m)


RULES: Mapping[str, Callable[[Frame, Op], Signal | Sequence[Signal]]] = {
    **dict.fromkeys(
        [
            "view",
            "reshape",
            "flatten",
            "unflatten",
            "squeeze",
            "unsqueeze",
            "view_as",
            "reshape_as",
            "atleast_1d",
            "atleast_2d",
            "atleast_3d",
        ],
        _reshape,
    ),
    **dict.fromkeys(["transpose", "t", "T", "mT", "H", "mH", "adjoint", "permute", "movedim"], _reordered),
    **dict.fromkeys(["expand", "expand_as", "broadcast_to"], _expand),
    **dict.fromkeys(["chunk", "split", "split_with_sizes", "tensor_split", "unbind"], _pieces),
    **dict.fromkeys(["narrow", "select"], _narrowed),
    "getitem": _getitem,
    **dict.fromkeys(["roll", "flip"], _shuffled),
}
