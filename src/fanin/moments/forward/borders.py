"""Picks of one place at the border of a padded convolution, which read fewer of its taps than the other places."""

from __future__ import annotations

import math
from collections import deque

from fanin.graph.ir import Op
from fanin.moments.forward.convolution import convolution_windows
from fanin.moments.frame import Frame

__all__ = ["border_width"]

_MOST_OPS = 24  # of a walk back
_FACTORS = 2.0  # signals of one convolution that are multiplied before the pick, as input and gate of a recurrence are
_LEAST = 0.1  # of the log of the share of taps: below, a border reads about as much as the other places


def border_width(frame: Frame, value: int, dim: int, place: int) -> float:
    """Variance of the log mean square that picking one place adds, 0 where all places are alike.

    The moments of a signal are those of all its places. Behind a padded convolution the first and last places read
    fewer taps, so that one of them is smaller by an unknown power of that share, which depends on what is between.

    Args:
        frame: the sweep.
        value: what is picked from.
        dim: the dimension that a place is picked from.
        place: its number.
    """
    size = frame.graph.value(value).shape[dim]
    for op in _convolutions_before(frame, value, size):
        for window in convolution_windows(frame, op):
            outs, taps = window.places.shape
            if size <= outs < size + taps:  # what is longer was cropped, as a causal convolution is
                live = (window.places >= 0).sum(axis=1)[:size]
                gap = abs(math.log(max(live[place], 0.5) / live.mean()))
                return (_FACTORS * gap) ** 2 if gap > _LEAST else 0.0
    return 0.0


def _convolutions_before(frame: Frame, value: int, size: int) -> list[Op]:
    """The nearest convolutions that a value comes from on ways that keep a dimension of this size."""
    found: list[Op] = []
    waiting, seen = deque([value]), {value}
    for _ in range(_MOST_OPS):
        op = frame.graph.producer(waiting.popleft()) if waiting else None
        if op is None:
            continue
        if op.name in _CONVOLUTIONS:
            found.append(op)
            continue
        for v in op.inputs:
            if v not in seen and frame.signals[v].from_data and _is_long(frame.graph.value(v).shape, size):
                seen.add(v)
                waiting.append(v)
    return found


_CONVOLUTIONS = frozenset(["conv1d", "conv2d", "conv3d"])


def _is_long(shape: tuple[int, ...], size: int) -> bool:
    return any(n >= size for n in shape)
