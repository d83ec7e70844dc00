"""Backward through convolutions and average pooling: the same windows, read from the other side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.backward.common import received, unbroadcast
from fanin.moments.forward.convolution import Window, averaged, convolution_windows, pooling_windows, window_sum
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import Moments

__all__ = ["RULES"]


def _convolution(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
    g = received(grads)
    if g is None:
        return {}
    transposed = "transpose" in op.name
    n = int(op.name[-2])
    x, w = frame.moments(op.arg(0, "input")), frame.moments(op.arg(1, "weight"))
    full = x.shape if len(x.shape) == n + 2 else (1, *x.shape)
    gs = g if len(g.shape) == n + 2 else g.reshaped((1, *g.shape))
    windows = [v.reversed(size) for v, size in zip(convolution_windows(frame, op), full[2:], strict=True)]
    groups = int(op.arg(6, "groups", 1))
    back = window_sum(gs, w, windows, groups=groups, transposed=not transposed, out_shape=full)
    out = {op.inputs[0]: back.reshaped(x.shape), op.inputs[1]: _weight(gs, x.reshaped(full), w, windows, groups)}
    bias = op.ref(2, "bias")
    if bias is not None:
        out[bias] = gs.summed([0, *range(2, n + 2)])
    return out


def _weight(g: Moments, x: Moments, w: Moments, windows: Sequence[Window], groups: int) -> Moments:
    """Gradient of a kernel: over samples and places, products of a gradient and the input that its tap reads."""
    del groups
    share = float(np.prod([(v.places >= 0).mean() for v in windows]))
    sums = 0.0
    n, places = g.shape[0], math.prod(g.shape[2:])
    for same_sample in (True, False):
        for same_place in (True, False):
            pairs = n * (1.0 if same_sample else n - 1.0) * places * (1.0 if same_place else places - 1.0)
            sums += pairs * _at(g, same_sample, same_place) * _at(x, same_sample, same_place)
    reads = share * math.prod(x.shape[2:]) / places if x.shape[2:] != g.shape[2:] else share
    return Moments.iid(w.shape, var=max(sums * min(reads, 1.0), 0.0))


def _at(m: Moments, same_sample: bool, same_place: bool) -> float:
    differ = [] if same_sample else [0]
    differ += [] if same_place else [d for d in range(2, len(m.shape)) if m.shape[d] != 1][:1]
    return m.pair(*differ) if differ else m.second_moment


def _pooled(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
    g = received(grads)
    if g is None:
        return {}
    shape = frame.graph.value(op.inputs[0]).shape
    windows = pooling_windows(frame, op)
    taps = math.prod(w.places.shape[1] for w in windows)
    back = [w.reversed(size) for w, size in zip(windows, shape[-len(windows) :], strict=True)]
    return {op.inputs[0]: averaged(g, back, shape).scaled(math.prod(w.places.shape[1] for w in back) / taps)}


def _max_pooled(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
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


def _upsampled(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
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


RULES = {
    **dict.fromkeys((f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)), _convolution),
    **dict.fromkeys((f"{a}avg_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _pooled),
    **dict.fromkeys((f"{a}max_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _max_pooled),
    **dict.fromkeys((f"upsample_nearest{n}d" for n in (1, 2, 3)), _upsampled),
}
