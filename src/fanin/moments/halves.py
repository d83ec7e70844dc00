"""Weights whose second half of units repeats the first with the other sign: [[A, -A], [-A, A]] and its relatives.

Two such units are as far from independent as two can be. A kernel holds that exactly once the axis of the units is
divided in two, (half, unit): entries of one unit and different halves have a pair kind of their own.

Of an odd number of units the last one is left over. It is taken as one more pair, each of whose units counts half:
n units are (2, n / 2). That is exact where the unit follows the law of the others, and where it is zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fanin.moments import kernel as kn
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments

__all__ = ["Halves", "halved_axes", "measured_in_halves"]

_ALIKE = 0.9  # correlation of the halves from which they are one another's copies or mirror images
_PERHAPS = 0.5  # correlation of some entries of them from which all are looked at; of 1,024 its error is .03
_FEW = 4096
_FEWEST = 8  # units: fewer may look alike by chance


class Halves(NamedTuple):
    """How an axis is divided: `size` entries, the same again times `sign`, and the entries left over."""

    size: int
    sign: int


def halved_axes(array: Array) -> dict[int, Halves]:
    """The unit axes (of the first two) whose halves are copies of one another (sign 1), or the negative (sign -1).

    Left over are the last entry of an odd axis, and entries at its end that are all zero.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(8, 6))
        >>> halved_axes(np.concatenate([a, -a, a[:1]]))
        {0: Halves(size=8, sign=-1)}
        >>> halved_axes(np.concatenate([a, a, np.zeros((8, 2))], axis=1)), halved_axes(a)
        ({1: Halves(size=6, sign=1)}, {})
    """
    found = {axis: _halves(array, axis) for axis in range(min(2, array.ndim)) if array.ndim > 1}
    return {axis: halves for axis, halves in found.items() if halves is not None}


def _halves(array: Array, axis: int) -> Halves | None:
    size = array.shape[axis]
    if size < _FEWEST:
        return None
    for half in dict.fromkeys((size // 2, (size - _zeros_at_end(array, axis)) // 2)):
        one, two, _ = np.split(array, (half, 2 * half), axis=axis)
        if abs(_likeness(_some(one), _some(two))) > _PERHAPS and abs(likeness := _likeness(one, two)) > _ALIKE:
            return Halves(half, 1 if likeness > 0.0 else -1)
    return None


def _likeness(one: Array, two: Array) -> float:
    """Correlation of two arrays about zero; 0 where one of them is zero."""
    energy = float(np.vdot(one, one) * np.vdot(two, two))
    return float(np.vdot(one, two)) / energy**0.5 if energy > 0.0 else 0.0


def _some(array: Array) -> Array:
    """An even slice of a large array, and of one that is zero there all of it."""
    part = array
    for axis in (0, 1):
        part = part[(slice(None),) * axis + (slice(None, None, max(1, math.isqrt(part.size // _FEW))),)]
    return part if part.size >= _FEW // 4 and part.any() else array


def _zeros_at_end(array: Array, axis: int) -> int:
    if np.take(array, -1, axis).any():
        return 0
    used = np.flatnonzero(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).any(axis=1))
    return int(array.shape[axis]) - (int(used[-1]) + 1 if used.size else 0)


def measured_in_halves(array: Array, axes: Mapping[int, Halves], most: int) -> JointMoments:
    """Moments of an array with these axes divided into (half, unit), on at most about `most` elements of it.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(64, 16))
        >>> odd = np.concatenate([a, -a, a[:1]])
        >>> m = measured_in_halves(odd, halved_axes(odd), 1 << 20)
        >>> m.shape, m.sizes, round(float(m.kernel[0, 1, 1] / m.second_moment), 6)
        ((129, 16), (2, 64.5, 16), -1.0)
    """
    wide, sizes, rows = np.asarray(array, dtype=np.float64), list[float](), 1 if 0 in axes else 0
    for axis in reversed(range(array.ndim)):
        size = array.shape[axis]
        wide = _in_halves(wide, axis, axes[axis]) if axis in axes else wide
        sizes = [*((2, size / 2 if size % 2 else size // 2) if axis in axes else (size,)), *sizes]
    taken = np.take(wide, range(0, wide.shape[rows], max(1, -(-wide.size // most))), axis=rows)
    counts = [n * taken.shape[axis] / wide.shape[axis] for axis, n in enumerate(sizes)]
    live = [axis for axis, n in enumerate(sizes) if n != 1]
    kernel = kn.measure(taken.reshape([taken.shape[a] for a in live]), [counts[a] for a in live])
    return JointMoments(shape=array.shape, sizes=tuple(sizes[a] for a in live), mean=float(taken.mean()), kernel=kernel)


def _in_halves(array: Array, axis: int, halves: Halves) -> Array:
    """The axis as two, (half, unit); where some are left over, every unit twice in its half, those once in each."""
    one, two, rest = np.split(array, (halves.size, 2 * halves.size), axis=axis)
    if not rest.shape[axis]:
        return np.stack([one, two], axis=axis)
    return np.stack(
        [np.concatenate([one, one, rest], axis), np.concatenate([two, two, halves.sign * rest], axis)], axis=axis
    )
