"""The loss at step zero and what it was computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.record import LossRecord, TensorStats

__all__ = ["loss_record"]

_ROWS = 4096
_PROBABILITY_TOLERANCE = 1e-3


def loss_record(value: float, source: Any, calls: Sequence[Any]) -> LossRecord:
    """The record of a loss value and of the loss function that was called.

    Of several, the one farthest above its baseline.

    Args:
        value: the whole loss.
        source: where it came from, as in `LossRecord`.
        calls: the `LossCall`s seen, in order.
    """
    found = [_of_call(value, source, call) for call in calls if call.prediction is not None]
    wrong = [r for r in found if r.already]
    return max(wrong or found, key=_excess, default=LossRecord(source=source, value=value))


def _excess(record: LossRecord) -> float:
    return (record.own_value or 0.0) / record.baseline if record.baseline else -1.0


def _of_call(value: float, source: Any, call: Any) -> LossRecord:
    with torch.no_grad():
        prediction, targets = call.prediction, call.targets
        rows = _class_rows(prediction) if call.op in ("cross_entropy", "nll_loss") else None
        return LossRecord(
            source=source,
            value=value,
            op=call.op,
            own_value=None if call.value is None else call.value.item(),
            reduction=call.reduction,
            num_classes=None if rows is None else rows.shape[1],
            baseline=_baseline(call, rows),
            prediction=_stats(prediction),
            targets=_stats(targets),
            logit_std=None if rows is None else math.sqrt(rows.var(dim=1, unbiased=False).mean().item()),
            already=_already(call, rows),
        )


def _stats(x: torch.Tensor | None) -> TensorStats | None:
    return None if x is None else unpack(pack(x.float() if not x.is_floating_point() else x))


def _class_rows(logits: torch.Tensor) -> torch.Tensor:
    """Logits as (rows, classes); classes are on axis 1 of two or more axes."""
    if logits.dim() < 2:
        return logits.reshape(1, -1).double()
    rows = logits.movedim(1, -1).flatten(0, -2)
    return rows[:: -(-rows.shape[0] // _ROWS) or 1].double()


def _baseline(call: Any, rows: torch.Tensor | None) -> float | None:
    """Loss of the best constant answer that knows nothing: ln K, ln 2 per label, or the variance of the targets."""
    count = _num_terms(call) if call.reduction == "sum" else 1
    if rows is not None:
        return math.log(rows.shape[1]) * count if rows.shape[1] > 1 else None
    if call.op in ("binary_cross_entropy", "binary_cross_entropy_with_logits") and not call.weighted:
        return math.log(2.0) * count
    if call.op == "mse_loss" and call.targets is not None and call.targets.numel() > 1:
        return float(call.targets.double().var(unbiased=False).item()) * count
    return None


def _num_terms(call: Any) -> int:
    if call.targets is None:
        return 1
    if call.targets.is_floating_point():
        return int(call.targets.numel())
    return int((call.targets != call.ignore_index).sum().item())


def _already(call: Any, rows: torch.Tensor | None) -> str:
    """What the prediction has been through although the loss does it again."""
    if rows is not None and call.op == "cross_entropy" and rows.shape[1] > 1:
        if bool((rows >= 0).all()) and _near(rows.sum(1), 1.0):
            return "softmax"
        if call.made_by == "sigmoid":
            return "sigmoid"
        return "log_softmax" if bool((rows <= 0).all()) and _near(rows.logsumexp(1), 0.0) else ""
    if rows is not None and call.op == "nll_loss" and rows.shape[1] > 1 and not _near(rows.logsumexp(1), 0.0):
        return "no log_softmax"
    if call.op == "binary_cross_entropy_with_logits" and call.made_by in ("sigmoid", "softmax"):
        return str(call.made_by)
    return ""


def _near(x: torch.Tensor, value: float) -> bool:
    return bool(((x - value).abs() < _PROBABILITY_TOLERANCE).all())
