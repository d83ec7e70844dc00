"""What a normalisation divides by: how many values behind one statistic, and their variance against eps."""

from __future__ import annotations

import torch

from fanin.measure.record import NormRecord
from fanin.measure.sampling import thinned

__all__ = ["norm_record"]

_BUDGET = 1 << 16


def norm_record(x: torch.Tensor, *, kind: str, training: bool, eps: float, groups: int = 1) -> NormRecord | None:
    """Median over statistics of the variance of a normalisation's input x, and the number of values behind each.

    Args:
        x: input; samples on axis 0, channels on axis 1 (of "layer_norm" and "rms_norm" the features are the last axis).
        kind: "batch_norm", "group_norm", "instance_norm", "layer_norm" or "rms_norm" (which takes the mean square).
        training: batch statistics are used.
        eps: what is added to the variance.
        groups: of "group_norm".
    """
    if x.numel() == 0 or x.dim() < 2:
        return None
    with torch.no_grad():
        values, rows = _REARRANGE[kind](x.detach(), groups)
        centre = 0.0 if kind == "rms_norm" else rows.mean(-1, keepdim=True)
        var = (rows - centre).square().mean(-1).median().item()
    return NormRecord(kind=kind, training=training, values_per_statistic=values, input_var=var, eps=eps)


def _per_channel(x: torch.Tensor, groups: int) -> tuple[int, torch.Tensor]:
    rows = thinned(x, _BUDGET, keep=(0, 1)) if x.dim() > 2 else x
    return x.numel() // x.shape[1], rows.transpose(0, 1).flatten(1).double()


def _per_group(x: torch.Tensor, groups: int) -> tuple[int, torch.Tensor]:
    rows = x[:8].reshape(min(x.shape[0], 8) * groups, -1)
    return x[0].numel() // groups, thinned(rows, _BUDGET).double()


def _per_instance(x: torch.Tensor, groups: int) -> tuple[int, torch.Tensor]:
    return _per_group(x, x.shape[1])


def _per_row(x: torch.Tensor, groups: int) -> tuple[int, torch.Tensor]:
    rows = thinned(x, _BUDGET, keep=(x.dim() - 1,)).flatten(0, -2)
    return x.shape[-1], rows.double()


_REARRANGE = {
    "batch_norm": _per_channel,
    "group_norm": _per_group,
    "instance_norm": _per_instance,
    "layer_norm": _per_row,
    "rms_norm": _per_row,
}
