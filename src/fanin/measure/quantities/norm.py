"""What a normalisation divides by: how many values behind one statistic, and their variance against eps."""

from __future__ import annotations

import torch

from fanin.measure.calls import Call
from fanin.measure.record import NormRecord
from fanin.measure.sampling import thinned
from fanin.model.operations import NORM_CALLS

__all__ = ["norm_before", "norm_of", "norm_of_module", "norm_record"]

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


def norm_before(call: Call) -> NormRecord | None:
    """What a norm divides its input by, read before it may overwrite that input."""
    at = NORM_CALLS[call.op]
    eps = call.argument(at.eps, "eps", 1e-5)
    training = True if at.training is None else bool(call.argument(at.training, "training", True))
    groups = 1 if at.groups is None else int(call.argument(at.groups, "num_groups", 1))
    return norm_record(call.input, kind=call.op, training=training, eps=float(eps or 1e-7), groups=groups)


def norm_of(call: Call) -> NormRecord | None:
    """What `norm_before` read."""
    found: NormRecord | None = call.before.get("norm")
    return found


def norm_of_module(module: torch.nn.Module, source: torch.Tensor) -> NormRecord | None:
    """What an RMSNorm that is written out in a module divides its input by; eps is the module's own."""
    eps = next((float(v) for k, v in vars(module).items() if "eps" in k and isinstance(v, float)), 0.0)
    return norm_record(source, kind="rms_norm", training=module.training, eps=eps)
