"""The loss at step zero and what it was computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fanin.measure.calls import Call
from fanin.measure.kinds import CROSS_ENTROPIES, RANGES, REGRESSION
from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.record import LossRecord, TensorStats
from fanin.tensors.values import as_real

__all__ = ["LossCall", "loss_call", "loss_record", "with_value"]

_ROWS = 4096
_ELEMENTS = 1 << 24  # of logits in float64 that are kept at a time, 128 MiB
_MASKED = 1e4  # below the largest logit of a sample: such a class is masked out
_PROBABILITY_TOLERANCE = 1e-3
_OF_LOGARITHMS = frozenset(("nll_loss", "ctc_loss"))
_MANY_BEYOND = 0.05  # share of targets out of reach, from which such a loss is the one to look at
_BEYOND = 0.01  # of a range, by which a target may lie outside


_LEAST_ROWS, _LEAST_MARGIN, _SURE = 8, 0.5, 8.0
_REDUCTIONS: dict[Any, str] = {0: "none", 1: "mean", 2: "sum"}
_IGNORE_INDEX = -100  # torch's default


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCall:
    """A loss function that was called.

    Attributes:
        op: its name.
        reduction: "mean", "sum" or "none".
        prediction: its first argument.
        targets: its second, None where that is no tensor.
        weighted: it was given weights of classes or elements.
        made_by: the operation that made the prediction.
        ignore_index: class index that does not count.
        value: mean of what it gave, None until it has run.
        turned: whether training makes it larger.
        paired: whether each prediction meets the targets of all samples; None where the shapes tell.
        sites: indices of the sites nearest before its prediction.
        of_model: the model made what it takes for targets (a codebook, the other view): these tell nothing of the data.
    """

    op: str
    reduction: str
    prediction: torch.Tensor
    targets: torch.Tensor | None
    weighted: bool
    made_by: str
    ignore_index: int = _IGNORE_INDEX
    value: torch.Tensor | None = None
    turned: bool = False
    paired: bool | None = None
    sites: tuple[int, ...] = ()
    of_model: bool = False


def loss_call(call: Call) -> LossCall | None:
    """What a loss function is called with, read before it runs."""
    args, kwargs = call.args, call.kwargs
    bound = dict(zip(("input", "target"), args, strict=False)) | dict(kwargs)
    prediction, targets = bound["input"], bound.get("target")
    reduction = kwargs.get("reduction", next((a for a in args[2:] if isinstance(a, str)), None))
    if reduction is None:
        reduction = next((_REDUCTIONS[a] for a in args[2:] if isinstance(a, int) and a in _REDUCTIONS), "mean")
    return LossCall(
        op=call.op,
        reduction=str(_REDUCTIONS.get(reduction, reduction)),
        prediction=prediction.detach(),
        targets=targets.detach() if isinstance(targets, torch.Tensor) else None,
        weighted=any(isinstance(a, torch.Tensor) for a in args[2:]) or kwargs.get("weight") is not None,
        made_by=call.made_by,
        ignore_index=_ignored(call),
    )


def _ignored(call: Call) -> int:
    """The class that does not count: the fifth argument of both losses that have one."""
    if call.op not in CROSS_ENTROPIES:
        return _IGNORE_INDEX
    given = call.kwargs.get("ignore_index", call.args[4] if len(call.args) > 4 else _IGNORE_INDEX)
    return given if isinstance(given, int) else _IGNORE_INDEX


def with_value(call: Call) -> LossCall | None:
    """The call of a loss function with what it gave."""
    before: LossCall | None = call.before.get("loss")
    if before is None:
        return None
    return replace(before, value=call.result.detach().mean(), sites=call.sites, of_model=call.of_model)


def loss_record(value: float, source: Any, calls: Sequence[LossCall]) -> LossRecord:
    """The record of a loss value and of the loss function that was called.

    If several were called, the record is of the one whose loss is farthest above its baseline, of those with targets
    that the model did not make where there are any.

    Args:
        value: the whole loss.
        source: where it came from, as in `LossRecord`.
        calls: the `LossCall`s seen, in order.
    """
    if len(calls) == 1 and _is_minus(value, calls[0]):
        calls = [replace(calls[0], turned=True)]
    found = [_of_call(value, source, call) for call in [c for c in calls if not c.of_model] or calls]
    wrong = [r for r in found if r.already or r.lacks or r.paired or (r.unreachable or 0.0) > _MANY_BEYOND]
    return max(wrong or found, key=_excess, default=LossRecord(source=source, value=value))


def _is_paired(call: LossCall) -> bool:
    """Whether predictions of shape (n, 1) met targets of shape (n,): torch repeats both without a copy, to (n, n)."""
    x, y = call.prediction, call.targets
    if call.op not in REGRESSION or y is None or x.dim() != 2 or x.shape != y.shape or len(x) < 2:
        return False
    return {_repeated(x), _repeated(y)} == {0, 1}


def _repeated(x: torch.Tensor) -> int | None:
    """The axis along which a tensor repeats itself."""
    return x.stride().index(0) if 0 in x.stride() else None


def _is_minus(value: float, call: LossCall) -> bool:
    """Whether the loss is the call's value with its sign turned."""
    own = 0.0 if call.value is None else call.value.item()
    return own > 0 and math.isclose(value, -own, rel_tol=1e-4)


def _excess(record: LossRecord) -> float:
    return (record.own_value or 0.0) / record.baseline if record.baseline else -1.0


def _of_call(value: float, source: Any, call: LossCall) -> LossRecord:
    with torch.no_grad():
        prediction, targets = call.prediction, call.targets
        rows = _class_rows(prediction) if call.op in CROSS_ENTROPIES else None
        return LossRecord(
            source=source,
            value=value,
            op=call.op,
            own_value=None if call.value is None else call.value.item(),
            reduction=call.reduction,
            num_classes=None if rows is None else rows.shape[1],
            baseline=_baseline(call, rows),
            prior=_prior(call, rows),
            num_terms=_num_terms(call, rows),
            positive_share=_positive_share(call),
            prediction=_stats(prediction),
            targets=None if call.of_model else _stats(targets),
            logit_std=None if rows is None else _spread(rows),
            margin=_margin(call, rows),
            already=_already(call, rows),
            lacks=_lacks(call, rows),
            made_by=call.made_by,
            unreachable=_unreachable(call),
            turned=call.turned,
            paired=_is_paired(call) if call.paired is None else call.paired,
            sites=call.sites,
        )


def _spread(rows: torch.Tensor) -> float:
    """Root mean variance over the classes of a sample that are not masked out."""
    kept = rows.isfinite() & (rows > rows.amax(1, keepdim=True) - _MASKED)
    count = kept.sum(1, keepdim=True).clamp_min(1)
    mean = rows.masked_fill(~kept, 0.0).sum(1, keepdim=True) / count
    return math.sqrt(float(((rows - mean).masked_fill(~kept, 0.0).square() / count).sum(1).mean()))


def _margin(call: LossCall, rows: torch.Tensor | None) -> float | None:
    """What an objective takes off the logit at the label, where it does.

    Logits of a network that has seen no label are as large at the label as those of the same class in samples with
    other labels, whatever the classes' biases; the difference is averaged over samples and held against its own spread.
    """
    if rows is None or call.targets is None or call.targets.is_floating_point():
        return None
    y = _thinned(call.targets.reshape(-1), rows.shape[1])
    if len(y) != len(rows):
        return None
    counted = (y != call.ignore_index) & (y >= 0) & (y < rows.shape[1])
    x, y = rows[counted], y[counted]
    own = x.gather(1, y[:, None])[:, 0]
    labelled = torch.zeros_like(x[0]) if len(x) else rows.new_zeros(rows.shape[1])
    num, total = (labelled.index_add(0, y, v) for v in (torch.ones_like(own), own))
    others = len(x) - num
    means = (x.sum(0) - total) / others.clamp_min(1)
    below = (means[y] - own)[others[y] > 1]
    if len(below) < _LEAST_ROWS:
        return None
    mean, error = float(below.mean()), float(below.std()) / math.sqrt(len(below))
    return mean if mean > max(_SURE * error, _LEAST_MARGIN) else None


def _stats(x: torch.Tensor | None) -> TensorStats | None:
    return None if x is None else unpack(pack(x if (x := as_real(x)).is_floating_point() else x.float()))


def _class_rows(logits: torch.Tensor) -> torch.Tensor:
    """Logits as (rows, classes); classes are on axis 1 of two or more axes."""
    if logits.dim() < 2:
        return logits.reshape(1, -1).double()
    rows = logits.movedim(1, -1).flatten(0, -2)
    return _thinned(rows, rows.shape[1]).double()


def _thinned(rows: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Rows of logits, or their labels, evenly spread: as many as are looked at."""
    most = max(1, min(_ROWS, _ELEMENTS // max(num_classes, 1)))
    return rows[:: -(-len(rows) // most) or 1]


def _baseline(call: LossCall, rows: torch.Tensor | None) -> float | None:
    """Loss of a constant prediction: ln K for K classes, ln 2 per label, or the variance of the targets."""
    count = _num_terms(call, rows) if call.reduction == "sum" else 1
    if rows is not None:
        return math.log(rows.shape[1]) * count if rows.shape[1] > 1 else None
    if call.op in ("binary_cross_entropy", "binary_cross_entropy_with_logits") and not call.weighted:
        return math.log(2.0) * count
    if call.op == "mse_loss" and call.targets is not None and call.targets.numel() > 1:
        return float(as_real(call.targets).double().var(unbiased=False)) * count
    return None


def _prior(call: LossCall, rows: torch.Tensor | None) -> float | None:
    """Entropy of the label frequencies of the batch: the least loss of an answer that is the same for every sample."""
    if call.targets is None or call.weighted or call.reduction not in ("mean", "sum"):
        return None
    count = _num_terms(call, rows) if call.reduction == "sum" else 1
    if rows is not None and not call.targets.is_floating_point():
        kept = call.targets[call.targets != call.ignore_index]
        share = torch.unique(kept, return_counts=True)[1].double() / max(kept.numel(), 1)
        return float(torch.special.entr(share).sum()) * count
    if call.op in _BINARY and call.targets.dim():
        labels = call.targets.double()
        each = labels.mean(dim=[d for d in range(labels.dim()) if d != 1]) if labels.dim() > 1 else labels.mean()
        return float((torch.special.entr(each) + torch.special.entr(1 - each)).mean()) * count
    return None


_BINARY = frozenset(("binary_cross_entropy", "binary_cross_entropy_with_logits"))


def _positive_share(call: LossCall) -> float | None:
    if call.op not in _BINARY or call.targets is None or not call.targets.numel():
        return None
    return float(call.targets.double().mean())


def _num_terms(call: LossCall, rows: torch.Tensor | None) -> int:
    """Terms of the loss: labels that count, numbers, or samples that have a share of each class."""
    if call.targets is None:
        return 1
    if call.targets.is_floating_point() or call.targets.is_complex():
        return int(call.targets.numel()) // (1 if rows is None else max(rows.shape[1], 1))
    return int((call.targets != call.ignore_index).sum().item())


def _already(call: LossCall, rows: torch.Tensor | None) -> str:
    """What was applied to the prediction although the loss applies it again; "" if nothing."""
    if rows is not None and call.op == "cross_entropy" and rows.shape[1] > 1:
        if bool((rows >= 0).all()) and _near(rows.sum(1), 1.0):
            return "softmax"
        if call.made_by in ("sigmoid", "softmax"):
            return call.made_by
        return "log_softmax" if bool((rows <= 0).all()) and _near(rows.logsumexp(1), 0.0) else ""
    if call.op == "binary_cross_entropy_with_logits" and call.made_by in ("sigmoid", "softmax"):
        return call.made_by
    return ""


def _lacks(call: LossCall, rows: torch.Tensor | None) -> str:
    """What the loss expects to have been applied and was not."""
    if call.op == "ctc_loss" and call.prediction.dim() > 1:
        rows = _thinned(call.prediction.flatten(0, -2), call.prediction.shape[-1]).double()
    if rows is not None and call.op in _OF_LOGARITHMS:
        return "log_softmax" if rows.shape[1] > 1 and not _near(rows.logsumexp(1), 0.0) else ""
    if call.op == "kl_div":  # of any shape, and of distributions that need not be over one axis
        return "log_softmax" if bool((call.prediction > _PROBABILITY_TOLERANCE).any()) else ""
    return ""


def _unreachable(call: LossCall) -> float | None:
    """Share of the targets beyond the range of the operation that made the predictions; None where it has none."""
    if call.op not in REGRESSION or call.made_by not in RANGES or call.targets is None or call.of_model:
        return None
    low, high = RANGES[call.made_by]
    y = call.targets.double()
    slack = _BEYOND * (high - low if math.isfinite(high - low) else 1.0)
    return float(((y < low - slack) | (y > high + slack)).double().mean()) if not y.is_complex() else None


def _near(x: torch.Tensor, value: float) -> bool:
    return bool(((x - value).abs() < _PROBABILITY_TOLERANCE).all())
