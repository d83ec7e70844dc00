"""Which tensors cannot be written, and why: each reason is here once, for `fill_` and for a plan that is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanin.errors import DtypeError, FillError
from fanin.streams.dtypes import fill_dtype
from fanin.tensors.shards import is_sharded

__all__ = ["is_plain", "refuse_hollow", "refuse_unfit", "why_not_writable"]

_Reasons = tuple[tuple[Callable[[Any], bool], str], ...]


def why_not_writable(tensor: Any) -> str:
    """Why values cannot be written into a tensor and found there again; "" where they can.

    Example:
        >>> import torch
        >>> why_not_writable(torch.zeros(2)), why_not_writable(torch.zeros(1, 4).expand(4, 4))[:20]
        ('', 'is an expanded or ov')
    """
    if why := _first(tensor, _HOLLOW):
        return why
    try:
        memory = tensor.to_local() if is_sharded(tensor) else tensor
        if why := _first(memory, (*_UNFIT, _INFERENCE)):
            return why
        fill_dtype(memory.dtype)
    except DtypeError as error:
        return f"has dtype {str(tensor.dtype).removeprefix('torch.')}: {error} Use an override with None to keep it."
    return ""


def refuse_hollow(tensor: Any) -> None:
    """Raise where a tensor has no memory of its own.

    Raises:
        FillError: it is lazy, on the meta device, or its parts are kept elsewhere.
    """
    _refuse(tensor, _HOLLOW)


def refuse_unfit(memory: Any) -> None:
    """Raise where values written into memory would be lost, wrong or refused half-way.

    Raises:
        FillError: sparse, nested, a class of its own, overlapping, or a lazy conjugate.
    """
    _refuse(memory, _UNFIT)


def is_plain(tensor: Any) -> bool:
    """Whether a tensor keeps its numbers as torch does, and not in a way of its class's own.

    Raises:
        FillError: it is no torch tensor.
    """
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise FillError(
            f"fill_ writes into torch tensors; got {type(tensor).__name__}. For NumPy and JAX take law.sample(shape, "
            "key=...)."
        )
    return type(tensor).__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl


def _refuse(tensor: Any, reasons: _Reasons) -> None:
    if why := _first(tensor, reasons):
        raise FillError(f"the {type(tensor).__name__} {why}")


def _first(tensor: Any, reasons: _Reasons) -> str:
    return next((text for holds, text in reasons if holds(tensor)), "")


def _is_partitioned(t: Any) -> bool:
    return t.numel() == 0 and any(hasattr(t, name) for name in ("ds_id", "ds_shape", "ds_numel", "_is_fsdp_managed"))


def _is_lazy(t: Any) -> bool:
    return hasattr(t, "materialize") and hasattr(t, "cls_to_become")


def _is_foreign_inference(t: Any) -> bool:
    import torch

    return bool(t.is_inference()) and not torch.is_inference_mode_enabled()


def _is_overlapping(t: Any) -> bool:
    """Whether two elements may share one place: an axis does not step over all that the finer axes reach."""
    reach = 0
    for step, size in sorted((abs(step), size) for size, step in zip(t.shape, t.stride(), strict=True) if size > 1):
        if step <= reach:
            return bool(t.numel() > 0)
        reach += step * (size - 1)
    return False


_HOLLOW: _Reasons = (
    (_is_lazy, "has no shape yet (a lazy module); run one forward pass first."),
    (
        lambda t: bool(t.device.type == "meta"),
        "is on the meta device and has no memory; allocate it first with module.to_empty(device=...), or let "
        "plan.materialize(model) do both.",
    ),
    (
        _is_partitioned,
        "is empty because ZeRO-3 or FSDP keeps its parts elsewhere; fill inside the gathering context "
        "(deepspeed.zero.GatheredParameters(params, modifier_rank=0), FSDP.summon_full_params), or fill before "
        "sharding.",
    ),
)
_UNFIT: _Reasons = (
    (
        lambda t: str(t.layout) != "torch.strided" or bool(t.is_nested),
        "is sparse or nested, not strided; fill a dense tensor and convert it.",
    ),
    (
        lambda t: not is_plain(t),
        "has a class of its own that may keep its numbers anywhere (quantised, for example); fill a plain tensor "
        "first, and convert it after.",
    ),
    (
        _is_overlapping,
        "is an expanded or overlapping view: several of its elements share one place in memory. Fill the tensor that "
        "it is a view of, or its contiguous copy.",
    ),
    (
        lambda t: bool(t.is_conj() or t.is_neg()),
        "is a conjugated or negated view; fill the tensor that it is a view of.",
    ),
    (
        lambda t: bool(t.is_quantized),
        "is quantised: its numbers are codes. Fill a floating tensor, and quantise it after.",
    ),
)
# `fill_` can write such memory; a plan cannot put it back if a later write fails.
_INFERENCE = (
    _is_foreign_inference,
    "was made in inference mode and cannot be written outside it; build the model without inference_mode.",
)
