"""Backward through max pooling: each window sends its gradient to the entry that is the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op
from fanin.moments.algebra import product
from fanin.moments.backward.common import added, received, unbroadcast
from fanin.moments.forward.elementwise import inner_values
from fanin.moments.forward.maxima import MAXIMA, Windows, parts_of, tap_shares
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES", "largest_gradients"]


def _max_pooled(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """Each window sends its gradient to one entry."""
    g = received(grads)
    return {} if g is None else {op.inputs[0]: _at_one_entry(g, frame.graph.value(op.inputs[0]).shape)}


def _at_one_entry(g: JointMoments, shape: tuple[int, ...]) -> JointMoments:
    """The gradient of each window at one of its entries, and zeros; the sum of its squares stays what it is."""
    share = math.prod(g.shape[2:]) / math.prod(shape[2:])
    flat = g.reshaped((*g.shape[:2], math.prod(g.shape[2:])))
    wide = flat.resized(2, math.prod(shape[2:])) if math.prod(shape[2:]) != flat.shape[2] else flat
    kernel = wide.kernel * share**2
    index = (slice(None),) * (kernel.ndim - len(wide.axes(2))) + (1,) * len(wide.axes(2))
    kernel[index] = wide.kernel[index] * share
    return wide.changed(kernel=kernel, mean=0.0, spread=g.own_var).reshaped(shape)


def largest_gradients(
    frame: Frame, op: Op, g: JointMoments
) -> tuple[Mapping[int, JointMoments], Mapping[int, JointMoments]] | None:
    """What a maximum over windows of f(u, v, ...) sends to u and v, and to the values between.

    None where u is pooled itself. The slope of f is taken at the entry that is the largest: of a ReLU it is nearly
    always 1 there, not 1 half the time; a gate of a channel receives the signal where it is large.
    """
    pooled, before = op.inputs[0], frame.graph.value(op.inputs[0]).shape
    if op.name not in MAXIMA or len(before) != len(g.shape):
        return None
    shares, parts = tap_shares(op, before, g.shape), parts_of(frame, pooled)
    windows = [Windows.of(frame, part.value, shares) for part in parts]
    if len(parts) == 1 and windows[0].is_source:
        return None
    whole = _at_one_entry(g, before)
    sources: dict[int, list[JointMoments]] = {}
    between: dict[int, list[JointMoments]] = {pooled: [whole]}
    for part, drawn in zip(parts, windows, strict=True):
        run = whole.part(1, part.start, part.size)
        if drawn.is_source:
            sources.setdefault(drawn.value, []).append(drawn.put_back(run))
            continue
        if part.value != pooled:
            between.setdefault(part.value, []).append(run)
        if drawn.value != part.value:
            between.setdefault(drawn.value, []).append(drawn.put_back(run))
        for v in drawn.sources:
            sources.setdefault(v, []).append(_back(frame, drawn, run, v))
        for v in _between(frame, drawn):
            between.setdefault(v, []).append(_back(frame, drawn, run, v))
        _note_favour(frame, drawn, run)
    return {v: added(gs) for v, gs in sources.items()}, {v: added(gs) for v, gs in between.items()}


def _back(frame: Frame, windows: Windows, g: JointMoments, inner: int) -> JointMoments:
    """A gradient times the slope at the largest entry, for one of the sources or of the values between."""
    back = product(g, windows.slopes(inner, g.shape))
    back = windows.put_back(back.changed(width_var=g.width_var, spread=g.spread))
    return unbroadcast(back, frame.graph.value(inner).shape)


def _between(frame: Frame, windows: Windows) -> list[int]:
    """The values between one source and what is pooled; those of several sources get theirs link by link."""
    producer = frame.graph.producer(windows.value)
    if len(windows.sources) != 1 or producer is None:
        return []
    return inner_values(frame, producer, next(iter(windows.sources)))


def _note_favour(frame: Frame, windows: Windows, g: JointMoments) -> None:
    """Keep how large the factors of a pooled product are where it is the largest."""
    op = frame.graph.producer(windows.value)
    if op is not None and op.name == "mul" and len(windows.sources) > 1:
        frame.favours[windows.value] = {v: (g.second_moment, windows.favour(v)) for v in op.inputs}


RULES = dict.fromkeys(sorted(MAXIMA), _max_pooled)
