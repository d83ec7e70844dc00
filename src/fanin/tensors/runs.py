"""Runs of indices along an axis, and how a mesh cuts them: arithmetic that needs no torch and no processes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Cut", "Runs", "between", "boxes", "held_runs", "length", "met", "placed"]

Runs = tuple[tuple[int, int], ...]
"""Half-open runs of indices of one axis of the whole tensor, in the order in which they lie in the local one."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One tensor axis cut over one mesh axis.

    Attributes:
        axis: of the tensor.
        ranks: size of the mesh axis.
        rank: coordinate of this process on it.
        factor: into how many pieces the axis is cut first; each of them is then cut over the ranks.
    """

    axis: int
    ranks: int
    rank: int
    factor: int = 1


def held_runs(shape: Sequence[int], cuts: Sequence[Cut]) -> tuple[Runs, ...]:
    """The runs along each axis that are left after some cuts, the first one first.

    Each cut is `torch.chunk`: pieces of ceil(n / ranks) elements, the last ones shorter or empty.

    Args:
        shape: of the whole tensor.
        cuts: what each mesh axis does.

    Example:
        >>> held_runs((10, 3), [Cut(axis=0, ranks=4, rank=3)])
        (((9, 10),), ((0, 3),))
        >>> held_runs((8,), [Cut(axis=0, ranks=2, rank=1, factor=2)])
        (((2, 4), (6, 8)),)
    """
    runs: list[Runs] = [((0, int(n)),) if n else () for n in shape]
    for cut in cuts:
        pieces = [_chunk(runs[cut.axis], cut.factor, piece) for piece in range(cut.factor)]
        runs[cut.axis] = _merged(run for piece in pieces for run in _chunk(piece, cut.ranks, cut.rank))
    return tuple(runs)


def length(runs: Runs) -> int:
    """Number of indices in all."""
    return sum(last - first for first, last in runs)


def _chunk(runs: Runs, count: int, index: int) -> Runs:
    """Piece `index` of the concatenated runs, cut in `count` pieces."""
    size = -(-length(runs) // count)
    return between(runs, index * size, (index + 1) * size)


def between(runs: Runs, low: int, high: int) -> Runs:
    """The indices low ... high - 1 of the local tensor, as runs of the whole one.

    Example:
        >>> between(((0, 3), (10, 14)), 2, 5)
        ((2, 3), (10, 12))
    """
    found, at = [], 0
    for first, last in runs:
        a, b = max(first, first + low - at), min(last, first + high - at)
        if a < b:
            found.append((a, b))
        at += last - first
    return tuple(found)


def _merged(runs: Iterator[tuple[int, int]]) -> Runs:
    """Runs of which one ends where the next begins are one."""
    made: list[tuple[int, int]] = []
    for first, last in runs:
        if made and made[-1][1] == first:
            made[-1] = made[-1][0], last
        else:
            made.append((first, last))
    return tuple(made)


def boxes(shape: Sequence[int], first: int, last: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Elements first ... last - 1 of the row-major order as boxes: (first, after the last) along each axis."""
    if first >= last:
        return
    if not shape:
        yield ()
        return
    step = math.prod(shape[1:])
    (row, start), (end, stop) = divmod(first, step), divmod(last, step)
    if row == end:
        yield from (((row, row + 1), *rest) for rest in boxes(shape[1:], start, stop))
        return
    if start:
        yield from (((row, row + 1), *rest) for rest in boxes(shape[1:], start, step))
        row += 1
    if row < end:
        yield ((row, end), *((0, n) for n in shape[1:]))
    yield from (((end, end + 1), *rest) for rest in boxes(shape[1:], 0, stop))


def placed(runs: Runs) -> list[tuple[int, int, int]]:
    """(first, last, place of the first in the local tensor) of each run."""
    places = itertools.accumulate((last - first for first, last in runs), initial=0)
    return [(first, last, at) for (first, last), at in zip(runs, places, strict=False)]


def met(runs: Runs, low: int, high: int) -> list[slice]:
    """Where the indices low ... high - 1 of the whole lie in the local tensor."""
    found = [(max(first, low), min(last, high), at - first) for first, last, at in placed(runs)]
    return [slice(a + shift, b + shift) for a, b, shift in found if a < b]
