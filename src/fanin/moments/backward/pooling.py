"""Backward through pooling: an average sends its gradient to the whole window, a maximum to one entry of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
    taps = math.prod(w.places.shape[1] for w in windows)
    back = [w.reversed(size) for w, size in zip(windows, shape[-len(windows) :], strict=True)]
    return {op.inputs[0]: averaged(g, back, shape).scaled(math.prod(w.places.shape[1] for w in back) / taps)}


def _max_pooled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """Each window sends its gradient to one entry."""
    g = received(grads)
    if g is None:
        return {}
    shape = frame.graph.value(op.inputs[0]).shape
    share = math.prod(g.shape[2:]) / math.prod(shape[2:])
    flat = g.reshaped((*g.shape[:2], math.prod(g.shape[2:])))
    wide = flat.resized(2, math.prod(shape[2:])) if math.prod(shape[2:]) != flat.shape[2] else flat
    kernel = wide.kernel * share**2
    index = (slice(None),) * (kernel.ndim - len(wide.axes(2))) + (1,) * len(wide.axes(2))
    kernel[index] = wide.kernel[index] * share
    return {op.inputs[0]: replace(wide, kernel=kernel, mean=0.0).reshaped(shape)}


RULES = {
    **dict.fromkeys((f"{a}avg_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _pooled),
    **dict.fromkeys((f"{a}max_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _max_pooled),
}
