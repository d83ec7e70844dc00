"""Backward through views: the same entries, back in their places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.model.operations import BROADCASTS, RESHAPES, TURNS
from fanin.moments.backward.common import added, received, scattered, unbroadcast
from fanin.moments.forward.views import dimension_order
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments
from fanin.moments.places import only

__all__ = ["RULES"]


def _shape(frame: Frame, op: Op) -> tuple[int, ...]:
    return frame.graph.value(op.inputs[0]).shape


def _reshape(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    return {} if g is None else {op.inputs[0]: g.reshaped(_shape(frame, op))}


def _order(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    order = dimension_order(frame, op)
    return {op.inputs[0]: g.permuted([int(i) for i in np.argsort(order)])}


def _expand(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    return {} if g is None else {op.inputs[0]: unbroadcast(g, _shape(frame, op))}


def _pieces(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    shape = _shape(frame, op)
    dim = int(op.arg(1 if op.name == "unbind" else 2, "dim", 0)) % len(shape)
    parts = []
    for g in grads:
        if g is not None:
            one = g.reshaped((*shape[:dim], 1, *shape[dim + 1 :])) if op.name == "unbind" else g
            parts.append(scattered(one, dim, shape[dim]))
    return {op.inputs[0]: added(parts)} if parts else {}


def _indexed(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """Slices and single entries: the gradient where they were taken, zero elsewhere."""
    g, shape, index = received(grads), _shape(frame, op), op.arg(1)
    if g is None:
        return {}
    index = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Ref | list | bool) for i in index):
        raise NoRuleError("indexing by a tensor")
    used = sum(i is not None and i is not Ellipsis for i in index)
    kept, dim = list(shape), 0
    starts = [0] * len(shape)
    for item in index:
        if item is Ellipsis:
            dim += len(shape) - used
        elif item is not None:
            taken = range(shape[dim])[item]
            kept[dim] = 1 if isinstance(taken, int) else len(taken)
            starts[dim] = taken if isinstance(taken, int) else min(taken, default=0)
            dim += 1
    g = g.reshaped(kept)
    for d, n in enumerate(shape):
        g = scattered(g, d, n)
    cut = [d for d, n in enumerate(shape) if kept[d] != n]
    if len(cut) == 1:
        (d,) = cut
        g = g.changed(places=only(d, shape[d], starts[d], kept[d]))
    return {op.inputs[0]: g}


def _same(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    return {} if g is None else {op.inputs[0]: g}


RULES = {
    **dict.fromkeys(sorted(RESHAPES), _reshape),
    **dict.fromkeys(sorted(TURNS), _order),
    **dict.fromkeys(sorted(BROADCASTS), _expand),
    **dict.fromkeys(["chunk", "split", "split_with_sizes", "tensor_split", "unbind"], _pieces),
    "getitem": _indexed,
    **dict.fromkeys(["roll", "flip"], _same),
}
