"""The values of a parameter slice by slice, so that a large one is written, or compared, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fanin.planning.apply import draw_into
from fanin.planning.assignment import Assignment
from fanin.tensors.holdings import Part, Range, holdings
from fanin.tensors.shards import is_sharded, local_part

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["SLICE", "drawn_blocks", "drawn_slices"]

SLICE = 1 << 22  # elements that are drawn, and written or compared, at a time


def drawn_slices(plan: PlanData, a: Assignment, dtype: str, *, after: int = 0) -> Iterator[tuple[int, torch.Tensor]]:
    """The values of one parameter, flat and in order: (index of the first, numbers) of each slice.

    The memory of a slice is used again for the next one.

    Args:
        plan: says the seed.
        a: the parameter. A law whose entries depend on each other is drawn whole.
        dtype: of the numbers.
        after: slices that end before this index are left out.
    """
    import torch

    step = _made_together(a)
    memory = torch.empty(min(step, a.numel), dtype=getattr(torch, dtype))
    for start in range(after // step * step, a.numel, step):
        end = min(start + step, a.numel)
        values = memory[: end - start]
        draw_into(values, plan, a, Range(a.shape, start, end))
        skip = max(after - start, 0) // SLICE * SLICE
        for first in range(skip, end - start, SLICE):
            yield start + first, values[first : first + SLICE]


def _made_together(a: Assignment) -> int:
    """Numbers of a parameter that are drawn at a time: a slice, or as many as a law must make in one go."""
    law: Any = a.initializer
    joint = law.joint_axes(a.shape, a.layout)
    if joint is None or 0 in joint:
        return max(a.numel, 1)
    if not joint:
        return SLICE
    entry = a.numel // max(a.shape[0], 1)
    return max(SLICE // max(entry, 1), 1) * max(entry, 1)


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
