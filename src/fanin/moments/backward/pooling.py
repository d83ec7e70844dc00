"""Backward through pooling: an average sends its gradient to the whole window, a maximum to one entry of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.backward.common import received
from fanin.moments.forward.elementwise import (
    Function,
    chain_function,
    chain_slope,
    inner_slope,
    inner_values,
    is_positive,
)
from fanin.moments.forward.pooling import averaged, drawn_at_the_largest, pooling_windows, window_taps
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES", "largest_gradients"]


def _pooled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    shape = frame.graph.value(op.inputs[0]).shape
    windows = pooling_windows(frame, op)
    back = [w.reversed(size) for w, size in zip(windows, shape[-len(windows) :], strict=True)]
    return {op.inputs[0]: averaged(g, back, shape)}


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


def largest_gradients(
    frame: Frame, op: Op, g: JointMoments
) -> tuple[Mapping[int, JointMoments], Mapping[int, JointMoments]] | None:
    """What a maximum over windows of f(u) sends to u, and to the values between; None where u is pooled itself.

    The slope of f is taken at the entry that is the largest: of a ReLU it is nearly always 1 there, not 1 half the
    time.
    """
    if op.name not in _MAXIMA:
        return None
    pooled = op.inputs[0]
    region, producer = frame.signals[pooled].region, frame.graph.producer(pooled)
    if len(region) != 1 or producer is None or is_positive(frame, region[0]):
        return None
    (source,) = region
    m, before = frame.signals[source].known, frame.graph.value(pooled).shape
    if m.shape != before or len(before) != len(g.shape) or frame.signals[source].numbers is not None:
        return None
    at = drawn_at_the_largest(m, chain_function(frame, producer, source), window_taps(op, before, g.shape))
    whole = _max_pooled(frame, op, [g])[pooled]

    def scaled(slope: Function) -> JointMoments:
        return whole.scaled(math.sqrt(float(np.square(slope(at)).mean())))

    inner = [v for v in inner_values(frame, producer, source) if frame.graph.value(v).shape == before]
    between = {v: scaled(inner_slope(frame, producer, source, v)) for v in inner}
    return {source: scaled(chain_slope(frame, producer, source))}, {**between, pooled: whole}


_MAXIMA = frozenset(f"{a}max_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3))

RULES = {
    **dict.fromkeys((f"{a}avg_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _pooled),
    **dict.fromkeys((f"{a}max_pool{n}d" for a in ("", "adaptive_") for n in (1, 2, 3)), _max_pooled),
}
