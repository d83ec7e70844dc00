"""What several backward rules need: sums of contributions, and the gradients of a broadcast and of a selection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fanin.moments.algebra import summed_up
from fanin.moments.moments import JointMoments, aligned

__all__ = ["added", "received", "scattered", "unbroadcast"]


def added(parts: Iterable[JointMoments]) -> JointMoments:
    """Sum of gradients that reach a tensor along several paths.

    Taken as uncorrelated (fresh weights on all but one).
    """
    first, *rest = parts
    return summed_up(first, *rest) if rest else first


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
    return replace(wide, kernel=kernel, mean=wide.mean * part / size)


def matched(one: JointMoments, other: JointMoments) -> tuple[JointMoments, JointMoments]:
    """Both on the same axes."""
    a, b = aligned([one, other])
    return a, b
