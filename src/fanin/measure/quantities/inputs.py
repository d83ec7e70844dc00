"""What is handed to the model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.record import InputRecord, TensorStats
from fanin.measure.sampling import strided, thinned
from fanin.tensors.values import as_real

__all__ = ["input_record"]

_BUDGET = 1 << 18
_LARGEST_DENSE = 1 << 24  # elements


def input_record(
    name: str,
    x: torch.Tensor,
    *,
    gradient: torch.Tensor | None,
    normalised_first: bool,
    as_read: Callable[[TensorStats], TensorStats] = lambda given: given,
    without_scale: bool = False,
) -> InputRecord | None:
    """Statistics of one input, of a sparse one with its zeros; None for an empty one or a sparse one of great size.

    Args:
        name: "inputs[0]" or the keyword.
        x: the input.
        gradient: of the loss with respect to it.
        normalised_first: as in `InputRecord`.
        as_read: what the weights read, from the statistics of the input itself.
        without_scale: as in `InputRecord`.

    Features are the channels of an image batch (axis 1 of four or more axes) and the last axis otherwise.
    """
    if x.layout != torch.strided:
        if x.numel() > _LARGEST_DENSE:
            return None
        x, gradient = x.to_dense(), None if gradient is None else gradient.to_dense()
    x = as_real(x)
    floating = x.is_floating_point()
    stats = unpack(pack(x if floating else x.float()))
    if stats is None:
        return None
    ratio, constant = _features(x) if floating and x.dim() >= 2 else (None, None)
    s = strided(x)
    return InputRecord(
        name=name,
        shape=tuple(x.shape),
        dtype=str(x.dtype).removeprefix("torch."),
        floating=floating,
        stats=stats,
        as_read=as_read(stats),
        feature_std_ratio=ratio,
        constant_feature_share=constant,
        same_samples=_are_the_same(x),
        integer_valued=floating and bool((s == s.round()).all()),
        normalised_first=normalised_first,
        without_scale=without_scale,
        gradient=None if gradient is None else unpack(pack(gradient)),
    )


def _are_the_same(x: torch.Tensor) -> bool:
    """Whether all samples are the first one; the second is looked at first, since it nearly always differs."""
    with torch.no_grad():
        return x.dim() > 0 and len(x) > 1 and torch.equal(x[1], x[0]) and bool((x[1:] == x[:1]).all())


def _features(x: torch.Tensor) -> tuple[float | None, float | None]:
    axis = 1 if x.dim() >= 4 else x.dim() - 1
    if x.shape[axis] < 2 or x.numel() // x.shape[axis] < 8:
        return None, None
    with torch.no_grad():
        std = thinned(x, _BUDGET, keep=(0, axis)).transpose(0, axis).flatten(1).double().std(dim=1)
        alive = std[std > 0]
        ratio = (alive.max() / alive.min()).item() if alive.numel() > 1 else None
        return ratio, (std == 0).double().mean().item()
