"""Channels that are one number over the whole batch."""

from __future__ import annotations

import torch

from fanin.measure.calls import Call
from fanin.measure.kinds import CHANNEL_FIRST
from fanin.measure.sampling import thinned

__all__ = ["constant_channel_share", "constant_share"]

_BUDGET = 1 << 14


def constant_share(x: torch.Tensor, *, axis: int) -> float | None:
    """Share of the units on `axis` with a range of zero over all samples and positions.

    None below 2 samples or 4 units.

    A few thousand values are looked at first; only where those leave more than a tenth constant are all of them.

    Example:
        >>> constant_share(torch.tensor([[1.0, 2.0, 0.0, 5.0], [1.0, 3.0, 0.0, 5.5]]), axis=1)
        0.5
    """
    axis %= max(x.dim(), 1)
    if x.dim() < 2 or x.shape[axis] < 4 or x.numel() // x.shape[axis] < 2:
        return None
    with torch.no_grad():
        part = thinned(x, max(_BUDGET, 4 * x.shape[axis]), keep=(axis,))
        share = _constant(part, axis)
        if share > 0.1 and part.numel() < x.numel():
            share = _constant(x.detach(), axis)
    return share


def _constant(x: torch.Tensor, axis: int) -> float:
    others = [d for d in range(x.dim()) if d != axis]
    return float((x.amax(dim=others) == x.amin(dim=others)).double().mean().item())


def constant_channel_share(call: Call) -> float | None:
    """The same of the output of a map, on the axis that counts its channels."""
    return constant_share(call.result, axis=1 if call.op in CHANNEL_FIRST else -1)
