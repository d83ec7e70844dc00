"""Weights whose second half of units repeats the first with the other sign: [[A, -A], [-A, A]] and its relatives.

Two such units are as far from independent as two can be. A kernel holds that exactly once the axis of the units is
divided in two, (half, unit): entries of one unit and different halves have a pair kind of their own.
"""

from __future__ import annotations

import numpy as np

from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments

__all__ = ["halved_axes", "measured_in_halves"]

_ALIKE = 0.9  # correlation of the halves from which they are one another's copies or mirror images
_FEWEST = 8  # units: fewer may look alike by chance


def halved_axes(array: Array) -> tuple[int, ...]:
    """The unit axes (of the first two) whose halves are copies of one another, or the negative of it.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(8, 6))
        >>> halved_axes(np.concatenate([a, -a])), halved_axes(np.concatenate([a, -a], axis=1)), halved_axes(a)
        ((0,), (1,), ())
    """
    return tuple(axis for axis in range(min(2, array.ndim)) if array.ndim > 1 and _are_alike(array, axis))


def _are_alike(array: Array, axis: int) -> bool:
    size = array.shape[axis]
    if size % 2 or size < _FEWEST:
        return False
    one, two = np.split(array, 2, axis=axis)
    energy = float(np.vdot(one, one) * np.vdot(two, two))
    return energy > 0.0 and abs(float(np.vdot(one, two))) > _ALIKE * energy**0.5


def measured_in_halves(array: Array, axes: tuple[int, ...], most: int) -> JointMoments:
    """Moments of an array with these axes divided into (half, unit), on at most about `most` elements of it.

    Example:
        >>> a = np.random.default_rng(0).normal(size=(64, 16))
        >>> m = measured_in_halves(np.concatenate([a, -a]), (0,), 1 << 20)
        >>> m.shape, m.sizes, round(float(m.kernel[0, 1, 1] / m.second_moment), 6)
        ((128, 16), (2, 64, 16), -1.0)
    """
    split = tuple(part for d, n in enumerate(array.shape) for part in ((2, n // 2) if d in axes else (n,)))
    wide = np.asarray(array, dtype=np.float64).reshape(split)
    rows = 1 if 0 in axes else 0
    step = max(1, -(-array.size // most))
    kernel = JointMoments.measured(np.take(wide, range(0, wide.shape[rows], step), axis=rows))
    sizes = tuple(n for n in split if n != 1)
    return JointMoments(shape=array.shape, sizes=sizes, mean=kernel.mean, kernel=kernel.kernel)
