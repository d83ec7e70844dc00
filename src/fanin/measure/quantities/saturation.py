"""Share of outputs on the flat part of a bounded activation."""

from __future__ import annotations

import torch

from fanin.measure.calls import Call
from fanin.measure.kinds import BOUNDED
from fanin.measure.record import SaturationRecord
from fanin.measure.sampling import strided

__all__ = ["saturation", "saturation_of"]


def saturation(y: torch.Tensor, *, low: float, high: float) -> SaturationRecord:
    """Share of y outside (low, high), from a strided sample.

    Example:
        >>> saturation(torch.tensor([-1.0, 0.0, 0.5, 0.99]), low=-0.97, high=0.97).share
        0.5
    """
    s = strided(y).double()
    return SaturationRecord(share=((s <= low) | (s >= high)).double().mean().item(), low=low, high=high)


def saturation_of(call: Call) -> SaturationRecord | None:
    """The same of a bounded activation's output; None for other operations."""
    if call.op not in BOUNDED:
        return None
    low, high = BOUNDED[call.op]
    return saturation(call.result, low=low, high=high)
