"""``gather``, ``dynamic_slice`` and ``dynamic_update_slice`` in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["dynamic_slice", "dynamic_update_slice", "gather"]


def gather(p: Mapping[str, Any], x: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Slices of an array at given starts; whole rows of a table are an embedding."""
    numbers, sizes = p["dimension_numbers"], tuple(p["slice_sizes"])
    batch = starts.dim() - 1
    rows = (
        tuple(numbers.start_index_map) == (0,)
        and tuple(numbers.collapsed_slice_dims) == (0,)
        and sizes == (1, *x.shape[1:])
        and tuple(numbers.offset_dims) == tuple(range(batch, batch + x.dim() - 1))
    )
    if rows and x.dim() == 2:
        return F.embedding(starts.squeeze(-1).long(), x)
    return _slices(numbers, sizes, x, starts)


def _slices(numbers: Any, sizes: tuple[int, ...], x: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    batch = tuple(starts.shape[:-1])
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    window = [axis for axis in range(x.dim()) if axis not in gone]
    whole = len(batch) + len(window)
    places = []
    for axis, size in enumerate(sizes):
        place = torch.zeros((1,) * whole, dtype=torch.long)
        if axis in numbers.start_index_map:
            start = starts[..., list(numbers.start_index_map).index(axis)].long().clamp(0, x.shape[axis] - size)
            place = place + start.reshape(*batch, *(1 for _ in window))
        if axis in numbers.operand_batching_dims:
            along = numbers.start_indices_batching_dims[list(numbers.operand_batching_dims).index(axis)]
            place = place + _along(along, batch[along], whole)
        if axis in window:
            place = place + _along(len(batch) + window.index(axis), size, whole)
        places.append(place)
    made = x[tuple(places)]
    offsets = tuple(numbers.offset_dims)
    rest = iter(range(len(batch)))
    order = [len(batch) + offsets.index(a) if a in offsets else next(rest) for a in range(whole)]
    return made.permute(order)


def _along(axis: int, size: int, rank: int) -> torch.Tensor:
    shape = [size if a == axis else 1 for a in range(rank)]
    return torch.arange(size).reshape(shape)


def dynamic_slice(p: Mapping[str, Any], x: torch.Tensor, *starts: Any) -> torch.Tensor:
    """A box of an array from given starts, moved inside where it would leave the array."""
    for axis, (start, size) in enumerate(zip(starts, p["slice_sizes"], strict=True)):
        if size == x.shape[axis]:
            continue
        if not isinstance(start, torch.Tensor):
            x = x.narrow(axis, min(max(int(start), 0), x.shape[axis] - size), size)
            continue
        first = start.long().clamp(0, x.shape[axis] - size)
        x = torch.index_select(x, axis, first + torch.arange(size))
    return x


def dynamic_update_slice(
    p: Mapping[str, Any], x: torch.Tensor, update: torch.Tensor, *starts: torch.Tensor
) -> torch.Tensor:
    """An array with a box of it replaced."""
    places = []
    whole = x.dim()
    for axis, start in enumerate(starts):
        size = update.shape[axis]
        first = torch.as_tensor(start).long().clamp(0, x.shape[axis] - size)
        places.append(first + _along(axis, size, whole))
    return torch.index_put(x, tuple(places), update)
