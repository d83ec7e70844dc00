"""Tensors of which this process may hold a part: DTensors."""

from __future__ import annotations

from typing import Any

__all__ = ["is_sharded", "local_part", "whole_here"]


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
    if any(p.is_partial() for p in tensor.placements):
        return None
    local = local_part(tensor)
    return local if tuple(local.shape) == tuple(tensor.shape) else None


def local_part(tensor: Any) -> Any:
    """What this process holds of a tensor, as a plain one."""
    return tensor.to_local() if is_sharded(tensor) else tensor
