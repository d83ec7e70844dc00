"""Backward through operations that only move entries: joins, and enlargement by copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op
from fanin.moments.backward.common import added, received, unbroadcast
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments

__all__ = ["ENLARGEMENTS", "RULES"]


def _joined(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    tensors = op.arg(0, "tensors")
    dim = int(op.arg(1, "dim", 0)) % len(g.shape)
    out: dict[int, JointMoments] = {}
    start = 0
    for t in tensors:
        if not frame.graph.value(t.index).numel:
            continue  # an empty cache, of whatever rank
        shape = frame.graph.value(t.index).shape
        part = g.part(dim, start, 1 if op.name == "stack" else shape[dim]).reshaped(shape)
        start += 1 if op.name == "stack" else shape[dim]
        out[t.index] = added([out[t.index], part]) if t.index in out else part
    return out


def _upsampled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """Nearest-neighbour enlargement by whole factors: each entry receives the sum over its copies."""
    g = received(grads)
    shape = frame.graph.value(op.inputs[0]).shape
    if g is None:
        return {}
    if any(g.shape[d] % n for d, n in enumerate(shape) if d >= 2):
        raise NoRuleError("not by whole factors")
    split = [part for d, n in enumerate(shape) for part in ((n, g.shape[d] // n) if d >= 2 else (n,))]
    wide = g.reshaped(split)
    return {op.inputs[0]: unbroadcast(wide.summed(range(3, len(split), 2)), shape)}


ENLARGEMENTS = tuple(f"upsample_nearest{n}d" for n in (1, 2, 3))
RULES = {**dict.fromkeys(["cat", "stack"], _joined), **dict.fromkeys(ENLARGEMENTS, _upsampled)}
