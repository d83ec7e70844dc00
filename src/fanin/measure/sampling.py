"""A sample of a few thousand elements of a tensor, without copying the rest.

Statistics of every element would cost more than the products that made them; 16,384 strided elements give the rms to
0.6 % (Gaussian) for a hundredth of the price. The stride is coprime to every axis, so no channel or position is left
out for ever.
"""

from __future__ import annotations

import functools
import math

import torch

__all__ = ["SAMPLE", "as_samples", "is_signal", "rms", "strided", "thinned"]

SAMPLE = 16_384


def is_signal(x: torch.Tensor) -> bool:
    """Whether a tensor can be reduced: plain, floating, with more than one value.

    Example:
        >>> is_signal(torch.ones(2)), is_signal(torch.tensor([1, 2])), is_signal(torch.tensor(1.0))
        (True, False, False)
    """
    return (
        x.is_floating_point()
        and x.layout is torch.strided
        and x.numel() > 1
        and x.device.type != "meta"
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


def rms(x: torch.Tensor) -> float:
    """Root mean square of a floating tensor, summed in float32 or wider; 0 of an empty one.

    Example:
        >>> rms(torch.tensor([3.0, 4.0, 0.0, 0.0])), rms(torch.tensor([1e200], dtype=torch.float64))
        (2.5, 1e+200)
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    return float(torch.linalg.vector_norm(x.detach(), dtype=wide)) / math.sqrt(x.numel() or 1)


@functools.lru_cache(maxsize=4096)
def _stride(shape: tuple[int, ...], budget: int) -> int:
    """Smallest stride that leaves at most `budget` elements and shares no factor with any axis."""
    stride = math.ceil(math.prod(shape) / budget)
    if stride <= 1:
        return 1
    while any(math.gcd(stride, n) > 1 for n in shape if n > 1):
        stride += 1
    return stride


def _flat(x: torch.Tensor) -> torch.Tensor | None:
    """All elements in memory order as a view, or None where memory has gaps or repeats."""
    if x.is_contiguous():
        return x.view(-1)
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda d: (-strides[d], d))
    dense = x.permute(order)
    return dense.view(-1) if dense.is_contiguous() else None


def strided(x: torch.Tensor, budget: int = SAMPLE) -> torch.Tensor:
    """At most `budget` elements of x, spread evenly, shape (n,); a view where memory allows, else a small copy.

    Example:
        >>> strided(torch.arange(100.0), budget=20).tolist()[:3]
        [0.0, 7.0, 14.0]
    """
    x = x.detach()
    flat = _flat(x)
    stride = _stride(tuple(x.shape), budget)
    if flat is not None:
        return flat[::stride]
    index = torch.arange(0, x.numel(), stride, device=x.device)
    return x[torch.unravel_index(index, tuple(x.shape))]


def thinned(x: torch.Tensor, budget: int, *, keep: tuple[int, ...] = (0,)) -> torch.Tensor:
    """A view of x thinned along its longest axes (never those in `keep`) to at most `budget` elements."""
    x = x.detach()
    while x.numel() > budget:
        free = [d for d in range(x.dim()) if d not in keep and x.shape[d] > 1]
        if not free:
            break
        axis = max(free, key=lambda d: x.shape[d])
        step = min(x.shape[axis], max(2, -(-x.numel() // budget)))
        x = x[(slice(None),) * axis + (slice(None, None, step),)]
    return x


def as_samples(x: torch.Tensor, batch: int | None) -> torch.Tensor | None:
    """A tensor with its samples on axis 0; None where it is unknown which axis counts them.

    That is x itself, x with axis 1 moved forward, or with its rows regrouped (windows of one image).
    """
    if batch is None or x.dim() < 2 or batch < 2:
        return None
    if x.shape[0] == batch:
        return x
    if x.shape[1] == batch:
        return x.transpose(0, 1)
    if x.shape[0] % batch == 0 and x.shape[0]:
        return x.detach().reshape(batch, -1, *x.shape[1:])
    return None
