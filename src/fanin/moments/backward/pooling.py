"""Backward through average pooling: the gradient goes to the whole window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op
from fanin.moments.backward.common import received
from fanin.moments.forward.pooling import averaged, pooling_windows
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _pooled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    shape = frame.graph.value(op.inputs[0]).shape
    windows = pooling_windows(frame, op)
    back = [w.reversed(size) for w, size in zip(windows, shape[-len(windows) :], strict=True)]
    return {op.inputs[0]: averaged(g, back, shape)}


RULES = dict.fromkeys((f"{a}avg_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _pooled)
