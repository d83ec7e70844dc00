"""What several backward rules need: sums of contributions, and the gradients of a broadcast and of a selection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op
from fanin.model.operations import RESHAPES, SAME_NUMBERS
from fanin.moments.algebra import summed_up
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments, aligned

__all__ = ["LEAST_SE_BACKWARD", "added", "along_output", "crowded", "handed_on", "received", "scattered", "unbroadcast"]


LEAST_SE_BACKWARD = 0.03  # standard error of ln(rms) of any gradient: what joins and norms add to it is not followed


def added(parts: Iterable[JointMoments]) -> JointMoments:
    """Sum of gradients that reach a tensor along several paths.

    Taken as uncorrelated (fresh weights on all but one).
    """
    first, *rest = parts
    if not rest:
        return first
    total, energy = summed_up(first, *rest), sum(m.second_moment for m in (first, *rest))
    if all(m.spread is None for m in (first, *rest)) or not (energy > 0.0 and math.isfinite(energy)):
        return total
    spread = sum((m.second_moment / energy) ** 2 * m.own_var for m in (first, *rest))
    return total.changed(spread=max(spread, total.own_var))


def crowded(g: JointMoments, keys: int, features: int, *, of_query: bool) -> JointMoments:
    """Gradient of queries or keys, with what keys and values share: both are maps of the same tokens.

    The gradient of a query is sum_k p_k (g (v_k - v)) k_k. With fresh weights for k and v its mean square is that of
    independent ones times 1 + keys / features for tokens in random directions, since E (x_k x_l)^2 is 1 / features, not
    0. Tokens along few directions (positions on a curve) have more; the error spans it.
    """
    excess = keys / max(features, 1)
    moved = g.scaled((1.0 + excess) ** 0.5) if of_query else g
    return moved.widened(math.log1p(3.0 * excess) ** 2)


def received(grads: Sequence[JointMoments | None]) -> JointMoments | None:
    """The gradient of the first output, where there is one."""
    return grads[0] if grads else None


def unbroadcast(g: JointMoments, shape: Sequence[int]) -> JointMoments:
    """Gradient of a tensor of `shape` that was broadcast: the sum over the places it was repeated to."""
    lead = len(g.shape) - len(shape)
    dims = [*range(lead), *(lead + d for d, n in enumerate(shape) if n == 1 and g.shape[lead + d] != 1)]
    return replace(g.summed(dims, keepdim=True), spread=None).reshaped(shape) if dims else g.reshaped(shape)


def scattered(g: JointMoments, dim: int, size: int) -> JointMoments:
    """Gradient of a tensor of which `g` covers a part along one dimension: zero elsewhere."""
    dim %= len(g.shape)
    part = g.shape[dim]
    if part == size:
        return g
    wide = g.resized(dim, size)
    if part == 1:
        wide = wide.merged(dim)
    (axis,) = wide.axes(dim)
    k = np.moveaxis(wide.kernel, axis, 0)
    pairs = part * (part - 1) / (size * (size - 1))
    kernel = np.stack((k[0] * pairs, k[1] * part / size), axis)
    return wide.changed(kernel=kernel, mean=wide.mean * part / size)


def handed_on(frame: Frame, value: int) -> Iterator[int]:
    """A value and those that are the same numbers, made one from the other on the only way that reads it."""
    shape = frame.graph.value(value).shape
    for _ in range(_HANDS):
        yield value
        readers = frame.graph.consumers(value)
        if len(readers) != 1 or len(readers[0].outputs) != 1 or not _keeps(frame, readers[0], value):
            return
        value = readers[0].output
        if frame.graph.value(value).shape != shape:
            return


def _keeps(frame: Frame, op: Op, value: int) -> bool:
    """Whether an op hands a value on as it is, or adds zeros to it."""
    rest = [frame.signals[v] for v in op.inputs if v != value]
    return op.name in _SAME or (op.name == "add" and bool(rest) and all(s.constant == 0.0 for s in rest))


_HANDS = 6
_SAME = RESHAPES | SAME_NUMBERS | {"getitem"}


def along_output(frame: Frame, value: int) -> float:
    """How far the gradient of a value that is an output of the model is a multiple of it; see `Frame.along`."""
    return next((frame.along[v] for v in handed_on(frame, value) if v in frame.along), 0.0)


def matched(one: JointMoments, other: JointMoments) -> tuple[JointMoments, JointMoments]:
    """Both on the same axes."""
    a, b = aligned([one, other])
    return a, b
