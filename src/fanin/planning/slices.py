"""The values of a parameter slice by slice, so that a large one is written, or compared, in little memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanin.planning.apply import draw_into
from fanin.planning.assignment import Assignment
from fanin.tensors.holdings import Part, Range, holdings
from fanin.tensors.shards import is_sharded, local_part

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["SLICE", "DrawnBytes", "bytes_of", "drawn_blocks", "drawn_slices"]

SLICE = 1 << 22  # elements that are drawn, and written or compared, at a time


def drawn_slices(plan: PlanData, a: Assignment, dtype: str) -> Iterator[tuple[int, torch.Tensor]]:
    """The values of one parameter, flat and in order: (index of the first, numbers) of each slice.

    The memory of a slice is used again for the next one.

    Args:
        plan: says the seed.
        a: the parameter. A law whose entries depend on each other is drawn whole.
        dtype: of the numbers.
    """
    import torch

    step = made_together(a)
    memory = torch.empty(min(step, a.numel), dtype=getattr(torch, dtype))
    for start in range(0, a.numel, step):
        end = min(start + step, a.numel)
        values = memory[: end - start]
        draw_into(values, plan, a, Range(a.shape, start, end))
        for first in range(0, end - start, SLICE):
            yield start + first, values[first : first + SLICE]


def made_together(a: Assignment) -> int:
    """Numbers of a parameter that are drawn at a time: a slice, or as many as a law must make in one go."""
    if is_elementwise(a):
        return SLICE
    law: Any = a.initializer
    joint = law.joint_axes(a.shape, a.layout)
    if joint is None or 0 in joint:
        return max(a.numel, 1)
    entry = a.numel // max(a.shape[0], 1)
    return max(SLICE // max(entry, 1), 1) * max(entry, 1)


def is_elementwise(a: Assignment) -> bool:
    """Whether each number of a parameter can be drawn by itself."""
    law: Any = a.initializer
    return bool(law.joint_axes(a.shape, a.layout) == ())


class DrawnBytes:
    """The bytes of the parameters of a plan as a file of weights holds them, any part of them at any time.

    Several threads may ask at once. Numbers that can be drawn one by one are drawn by the thread that asks, in its
    memory. Of the others one group is held, the last one that was asked for, and drawn by all cores.

    Args:
        plan: says the seed.
    """

    def __init__(self, plan: PlanData) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._held: tuple[str, int, torch.Tensor | None] = ("", 0, None)

    def fill(self, memory: memoryview, a: Assignment, dtype: str, start: int) -> None:
        """Write the bytes from `start` on.

        Args:
            memory: as many bytes as are wanted.
            a: the parameter.
            dtype: of the numbers.
            start: place of the first byte among those of the parameter.
        """
        import torch

        kind = getattr(torch, dtype)
        size, end = kind.itemsize, start + len(memory)
        if not is_elementwise(a):
            self._copy(memory, a, kind, start)
            return
        first, last = start // size, -(-end // size)
        fits = start % size == 0 == end % size and _address(memory) % size == 0
        values = torch.frombuffer(memory, dtype=kind) if fits else torch.empty(last - first, dtype=kind)
        draw_into(values, self._plan, a, Range(a.shape, first, last), threads=1)
        if not fits:  # a number that two blocks share
            memory[:] = bytes_of(values)[start - first * size : end - first * size]

    def _copy(self, memory: memoryview, a: Assignment, kind: torch.dtype, start: int) -> None:
        """Copy what is drawn in groups."""
        group = made_together(a) * kind.itemsize
        while memory:
            first = start // group * group
            here = memory[: first + group - start]
            with self._lock:
                held = bytes_of(self._group(a, kind, first // kind.itemsize))
                here[:] = held[start - first : start - first + len(here)]
            memory, start = memory[len(here) :], start + len(here)

    def _group(self, a: Assignment, kind: torch.dtype, first: int) -> torch.Tensor:
        import torch

        name, at, values = self._held
        if values is None or (name, at, values.dtype) != (a.name, first, kind):
            values, self._held = None, ("", 0, None)  # its memory is free before the next one is made
            last = min(first + made_together(a), a.numel)
            values = torch.empty(last - first, dtype=kind)
            draw_into(values, self._plan, a, Range(a.shape, first, last))
            self._held = (a.name, first, values)
        return values


def _address(memory: memoryview) -> int:
    import torch

    return torch.frombuffer(memory, dtype=torch.uint8).data_ptr()


def bytes_of(flat: torch.Tensor) -> memoryview:
    """The memory of a flat tensor on the CPU."""
    import torch

    memory: Any = flat.view(torch.uint8).numpy()
    return memoryview(memory)


def drawn_blocks(
    plan: PlanData, a: Assignment, tensor: torch.Tensor, part: Part | None = None
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """What a tensor holds here beside what the plan draws there: (first row, numbers, drawn numbers) of each block.

    Args:
        plan: says the seed.
        a: the parameter. A law whose entries depend on each other over all rows is drawn whole.
        tensor: any tensor of the parameter's shape, of which this process may hold a part.
        part: what it holds of a tensor that does not say so itself.
    """
    import torch

    held = holdings(tensor) if part is None else part
    local, own = local_part(tensor), held if is_sharded(tensor) else part
    step = _rows_at_a_time(a, local)
    for first in range(0, len(local), step) if local.dim() and step else (0,):
        here = local[first : first + step] if step else local
        want = torch.empty_like(here)
        draw_into(want, plan, a, held.rows(first, first + len(here)) if step else own)
        yield first, here, want


def _rows_at_a_time(a: Assignment, local: torch.Tensor) -> int:
    """Rows of the local tensor that are drawn at a time; 0 for all of them."""
    law: Any = a.initializer
    joint = law.joint_axes(a.shape, a.layout)
    if local.numel() <= SLICE or joint is None or 0 in joint:
        return 0
    return max(SLICE * len(local) // local.numel(), 1)
