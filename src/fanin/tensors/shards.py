"""Which part of a whole tensor one shard is."""

from __future__ import annotations

from typing import Any

from fanin.errors import FillError

__all__ = ["is_sharded", "local_box", "local_part", "whole_here"]


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is a DTensor, which holds one part of a whole on each rank."""
    return hasattr(tensor, "device_mesh") and hasattr(tensor, "placements")


def whole_here(tensor: Any) -> Any | None:
    """A tensor as a plain one where this process holds all of it; None where a part of it is elsewhere.

    Example:
        >>> import torch
        >>> whole_here(torch.ones(2))
        tensor([1., 1.])
    """
    if not is_sharded(tensor):
        return tensor
    local = local_part(tensor)
    return local if tuple(local.shape) == tuple(tensor.shape) else None


def local_part(tensor: Any) -> Any:
    """What this process holds of a tensor, as a plain one."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def local_box(tensor: Any) -> tuple[slice, ...]:
    """The slices of the global tensor that this rank's shard of a DTensor holds.

    Raises:
        FillError: a placement other than Shard(dim) and Replicate(), or a rank outside the mesh.
    """
    from torch.distributed.tensor import Replicate, Shard

    mesh, spans = tensor.device_mesh, [[0, int(n)] for n in tensor.shape]
    where = mesh.get_coordinate()
    for axis, placement in enumerate(tensor.placements):
        if isinstance(placement, Replicate) and where is not None:
            continue
        if type(placement) is not Shard or where is None:
            raise FillError(
                f"a DTensor placed as {tensor.placements} on rank coordinate {where} has no box of the global tensor; "
                "allowed are Shard(dim) and Replicate(). Redistribute it first, or fill before sharding."
            )
        first, last = spans[placement.dim]
        piece = -(-(last - first) // mesh.size(axis))
        begin = min(first + piece * where[axis], last)
        spans[placement.dim] = [begin, min(begin + piece, last)]
    return tuple(slice(first, last) for first, last in spans)
