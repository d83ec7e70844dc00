"""Laws whose entries depend on each other, written into the part of a tensor that is here, a few units at a time.

Each unit is made as the whole tensor has it (`Initializer.part`), so that the bits are those of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fanin.tensors.holdings import Cell, Part

if TYPE_CHECKING:
    import torch

__all__ = ["Ranges", "write_cells"]

Ranges = Sequence[tuple[int, int]]
_TOGETHER = 1 << 20  # numbers that are made at a time, or one unit where that has more


def write_cells(
    memory: torch.Tensor,
    part: Part,
    joint: Collection[int],
    make: Callable[[Ranges], npt.NDArray[Any]],
    copy: Callable[[torch.Tensor, npt.NDArray[Any]], None],
) -> None:
    """Write a part of a whole tensor.

    Args:
        memory: the part.
        part: which one.
        joint: axes along which the law must be asked for all at once.
        make: gives a box, whole along the joint axes.
        copy: writes an array into a tensor of its shape.
    """
    for cell in part.cells(joint):
        target = memory[cell.here].view(cell.shape) if cell.here else memory
        for ends, here in _few(cell, joint, part.whole):
            copy(target[here], _chosen(make(ends), cell, joint))


def _few(cell: Cell, joint: Collection[int], whole: Sequence[int]) -> Iterator[tuple[Ranges, tuple[slice, ...]]]:
    """Boxes that make up a cell, whole along the joint axes; and where they lie in it."""
    outer = [(0, whole[n]) if n in joint else runs[0] for n, runs in enumerate(cell.runs)]
    for ends in _split(outer, joint):
        here = (slice(None) if n in joint else slice(a - outer[n][0], b - outer[n][0]) for n, (a, b) in enumerate(ends))
        yield ends, tuple(here)


def _split(ends: Ranges, joint: Collection[int]) -> Iterator[Ranges]:
    """A box in pieces of a bounded number of elements, cut along the first axis that may be cut."""
    axis = next((n for n, (a, b) in enumerate(ends) if n not in joint and b - a > 1), None)
    if axis is None or math.prod(b - a for a, b in ends) <= _TOGETHER:
        yield ends
        return
    first, last = ends[axis]
    step = max(1, _TOGETHER * (last - first) // math.prod(b - a for a, b in ends))
    for a in range(first, last, step):
        yield from _split([(a, min(a + step, last)) if n == axis else one for n, one in enumerate(ends)], joint)


def _chosen(values: npt.NDArray[Any], cell: Cell, joint: Collection[int]) -> npt.NDArray[Any]:
    """What a cell holds of a box that is whole along the joint axes."""
    for n in joint:
        if cell.runs[n] != ((0, values.shape[n]),):
            index = np.concatenate([np.arange(a, b) for a, b in cell.runs[n]])
            values = np.take(values, index, axis=n)
    return values
