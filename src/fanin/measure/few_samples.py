"""Further passes through the model, without instruments and through a few samples.

The instrumented pass is the only one through the whole batch: what needs the model run again (the virtual step, the
Jacobian) sends the first samples through it, which costs a thirty-second of a batch of 32 each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from fanin.measure.record import NormRecord
from fanin.model.trees import map_tensors, tensors_in

__all__ = ["FEW", "VALUES", "enough_samples", "first_samples", "fresh"]

FEW = 2  # samples of the Jacobian; the virtual step takes one
VALUES = 16  # of a statistic over the batch; with fewer, single samples decide the normalised signal


def fresh(inputs: Any, need_grad: bool) -> tuple[list[torch.Tensor], Any]:
    """Copies of the inputs (a model may write into them); floating ones behind a leaf that asks for a gradient.

    Where the caller's own tensor asks for one, so does its copy.
    """
    leaves: list[torch.Tensor] = []

    def copy(tensor: torch.Tensor, path: str) -> torch.Tensor:
        if not ((need_grad or tensor.requires_grad) and tensor.is_floating_point()):
            return tensor.detach().clone()
        leaf = tensor.detach().requires_grad_()
        leaves.append(leaf)
        return leaf.clone()

    return leaves, map_tensors(inputs, copy)


def first_samples(inputs: Any, batch: int | None, few: int) -> Any | None:
    """The first `few` samples of the inputs, None where one is sparse or axis 0 is not the batch in all of them."""
    tensors = [t for t in tensors_in(inputs) if t.dim()]
    if not tensors or batch is None or any(t.shape[0] != batch or t.layout != torch.strided for t in tensors):
        return None
    return map_tensors(inputs, lambda t, path: t[:few] if t.dim() else t)


def enough_samples(norms: Iterable[NormRecord | None], batch: int | None, *, least: int = FEW) -> int:
    """How many samples every statistic over the batch needs to be taken from 16 values; at least `least`."""
    shared = [n.values_per_statistic for n in norms if n is not None and n.training and n.kind == "batch_norm"]
    if not shared or not batch:
        return least
    return max(least, math.ceil(VALUES * batch / max(min(shared), 1)))
