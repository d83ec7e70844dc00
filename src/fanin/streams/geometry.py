"""Where the elements of a box lie in memory, and in which order an engine had best visit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanin.streams.boxes import Box, strides_of

__all__ = ["Walk"]

_RUN = 8  # consecutive elements worth drawing block by block rather than one by one


@dataclass(frozen=True, slots=True)
class Walk:
    """Axes of a box with their steps in the stream and in memory, adjacent ones merged where both allow it.

    Attributes:
        shape: sizes, never empty.
        strides: step of each axis in the global index.
        steps: step of each axis in memory, in elements.
        start: global index of the first element.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    steps: tuple[int, ...]
    start: int

    @classmethod
    def of(cls, box: Box, steps: Sequence[int] | None = None) -> Walk:
        """The walk over a box in row-major order of the box, into memory with the given steps (contiguous: None).

        Example:
            >>> Walk.of(Box.of((4, 6, 5)))
            Walk(shape=(120,), strides=(1,), steps=(1,), start=0)
            >>> Walk.of(Box.of((4, 6, 5), (slice(None), slice(2, 4))), (10, 5, 1))
            Walk(shape=(4, 10), strides=(30, 1), steps=(10, 1), start=10)
        """
        memory = strides_of(box.shape) if steps is None else tuple(steps)
        merged: list[tuple[int, int, int]] = []
        for size, stride, step in zip(box.shape, box.strides, memory, strict=True):
            if size == 1:
                continue
            if merged and merged[-1][1] == stride * size and merged[-1][2] == step * size:
                merged[-1] = (merged[-1][0] * size, stride, step)
            else:
                merged.append((size, stride, step))
        shape, strides, jumps = zip(*(merged or [(1, 1, 1)]), strict=True)
        return cls(shape, strides, jumps, box.start)

    @property
    def run(self) -> int:
        """How many elements follow each other in the stream: 0 for all of them, 1 for none worth mentioning."""
        if self.strides == strides_of(self.shape):
            return 0
        return self.shape[-1] if self.strides[-1] == 1 and self.shape[-1] >= _RUN else 1

    @property
    def dense(self) -> bool:
        """Whether the elements follow each other in memory, in the order of the walk."""
        return self.steps == strides_of(self.shape)
