"""A tensor's numbers as NumPy has them."""

from __future__ import annotations

from typing import Any

from fanin.memory import as_array

__all__ = ["exact_numbers"]


def exact_numbers(tensor: Any) -> Any:
    """All numbers of a tensor, exactly: half precision in float32, all else in its own dtype.

    Example:
        >>> import torch
        >>> exact_numbers(torch.ones(2, dtype=torch.bfloat16)).dtype
        dtype('float32')
    """
    import torch

    t = tensor.detach()
    if t.dtype not in (torch.float64, torch.complex64, torch.complex128):
        t = t.to(torch.float32)
    return as_array(t.cpu())
