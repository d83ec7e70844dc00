"""Which elements of the global tensor a shard holds: a box of slices, one an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fanin.errors import ShapeError
from fanin.streams.arguments import checked_box, checked_shape

__all__ = ["Box", "strides_of"]


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements.

    Example:
        >>> strides_of((2, 3, 4))
        (12, 4, 1)
    """
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True, slots=True)
class Box:
    """A strided box of the global tensor: its element (i0, i1, ...) is global element start + sum i_k * strides[k].

    Attributes:
        shape: shape of the box.
        strides: step along each axis, in elements of the row-major global tensor.
        start: global index of the first element.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int = 0

    @classmethod
    def of(cls, shape: Sequence[int], slices: Sequence[slice] | None = None) -> Box:
        """The box that `slices` cut from a tensor of the given global shape; the whole of it where none are given.

        Args:
            shape: global shape; () for a scalar.
            slices: one an axis (missing ones at the end mean the whole axis); steps must be >= 1.

        Raises:
            ShapeError: negative sizes, too many slices, a step below 1, or more elements than the 2**64 a stream has.

        Example:
            >>> Box.of((4, 6), (slice(1, 3), slice(0, 6, 2)))
            Box(shape=(2, 3), strides=(6, 2), start=6)
        """
        sizes = checked_shape(shape)
        cuts = checked_box(() if slices is None else slices, len(sizes))
        if math.prod(sizes) > 1 << 63:
            raise ShapeError(f"sizes must be >= 0 and their product at most 2**63; got shape {sizes}")
        ranges = [range(*cut.indices(n)) for cut, n in zip(cuts, sizes, strict=True)]
        steps = strides_of(sizes)
        return cls(
            tuple(len(r) for r in ranges),
            tuple(r.step * step for r, step in zip(ranges, steps, strict=True)),
            sum(r.start * step for r, step in zip(ranges, steps, strict=True)) if all(ranges) else 0,
        )

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def indices(self, first: int = 0, last: int | None = None) -> npt.NDArray[np.uint64]:
        """Global indices of elements first .. last - 1 of the box in row-major order.

        Example:
            >>> Box.of((4, 6), (slice(1, 3), slice(0, 6, 2))).indices()
            array([ 6,  8, 10, 12, 14, 16], dtype=uint64)
        """
        rest = np.arange(first, self.size if last is None else last, dtype=np.uint64)
        total = np.full_like(rest, self.start)
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            rest, here = np.divmod(rest, np.uint64(size))
            total += here * np.uint64(stride)
        return total

    def ranges(self, chunk: int) -> Iterator[tuple[int, int]]:
        """(first, last) of consecutive pieces of at most `chunk` elements."""
        for first in range(0, self.size, chunk):
            yield first, min(first + chunk, self.size)
