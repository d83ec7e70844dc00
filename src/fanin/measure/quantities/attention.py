"""Attention logits: their spread per head against the point where a softmax condenses."""

from __future__ import annotations

import math

import torch

from fanin.measure.calls import Call
from fanin.measure.record import AttentionRecord

__all__ = ["attention_from_logits", "attention_from_qk", "attention_of"]

_ROWS, _SAMPLES, _MIN_KEYS = 64, 2, 8
# What models add where a key must not be seen: -inf, the dtype's lowest, -1e4, -100.
_MASKED = -50.0
_GAP, _GAP_SHARE, _MIN_ABOVE = 20.0, 0.6, 4


def attention_from_qk(
    q: torch.Tensor, k: torch.Tensor, *, mask: torch.Tensor | None, causal: bool, factor: float | None
) -> AttentionRecord | None:
    """Statistics of softmax(q k^T factor), from the first samples.

    Shapes: q (..., heads, rows, d), k (..., heads, keys, d).

    An additive mask says which keys are visible; its finite values (a position bias) are left out of the spread.
    """
    if q.dim() < 3 or k.shape[-2] < _MIN_KEYS or q.numel() == 0:
        return None
    with torch.no_grad():
        q, k = _first(q), _first(k)
        if q.shape[1] != k.shape[1] and q.shape[1] % k.shape[1] == 0:  # grouped queries share their keys
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        rows = torch.linspace(0, q.shape[-2] - 1, min(_ROWS, q.shape[-2]), device=q.device).long()
        factor = 1.0 / math.sqrt(q.shape[-1]) if factor is None else factor
        logits = q[..., rows, :].double() @ k.double().transpose(-1, -2) * factor
        visible = _visible(logits, rows, mask, causal, q.shape[-2]) if causal or mask is not None else None
    return _reduce(logits, visible, rows)


def attention_from_logits(logits: torch.Tensor) -> AttentionRecord | None:
    """Statistics of softmax(logits) for logits (..., heads, rows, keys), from the first samples.

    Masked keys are very negative.
    """
    if logits.dim() < 3 or logits.shape[-1] < _MIN_KEYS or logits.numel() == 0:
        return None
    with torch.no_grad():
        x = _first(logits)
        step = -(-x.shape[-2] // _ROWS)
        x = x[..., ::step, :].double()
        return _reduce(x, _above_the_gap(x), torch.arange(x.shape[-2], device=x.device) * step)


def attention_of(call: Call) -> AttentionRecord | None:
    """Statistics of the logits of a softmax over its last axis, or of an attention that torch computes at once."""
    if call.op == "softmax":
        axis = call.argument(1, "dim", -1)
        return attention_from_logits(call.input) if axis in (-1, call.input.dim() - 1) else None
    return attention_from_qk(
        call.argument(0, "query"),
        call.argument(1, "key"),
        mask=call.argument(3, "attn_mask"),
        causal=bool(call.argument(5, "is_causal", False)),
        factor=call.kwargs.get("scale"),
    )


def _above_the_gap(x: torch.Tensor) -> torch.Tensor:
    """Keys that no mask hides: those above the widest gap of a row, where that gap is most of the row's range.

    Gaussian logits of any spread have no gap of 60 % of their range with four or more keys above it.
    """
    finite = torch.where(x > -1e4, x, torch.full_like(x, -1e4))
    ordered = finite.sort(dim=-1, descending=True).values
    gaps = ordered[..., :-1] - ordered[..., 1:]
    widest, where = gaps[..., _MIN_ABOVE - 1 :].max(dim=-1)
    floor = ordered.gather(-1, where[..., None] + _MIN_ABOVE - 1)
    span = (ordered[..., :1] - ordered[..., -1:]).clamp_min(1e-9)
    masked = (widest[..., None] > _GAP) & (widest[..., None] > _GAP_SHARE * span)
    return torch.where(masked, x >= floor, x > -1e4)


def _first(x: torch.Tensor) -> torch.Tensor:
    """The first samples, with exactly one axis of samples before the heads."""
    x = x.detach()
    x = x[None] if x.dim() == 3 else x.flatten(0, -4)
    return x[:_SAMPLES]


def _visible(
    logits: torch.Tensor, rows: torch.Tensor, mask: torch.Tensor | None, causal: bool, num_rows: int
) -> torch.Tensor:
    visible = torch.ones_like(logits, dtype=torch.bool)
    if causal:
        keys = torch.arange(logits.shape[-1], device=logits.device)
        visible &= keys[None, :] <= rows[:, None]
    if mask is not None:
        shown = mask if mask.dtype == torch.bool else mask > _MASKED
        shown = shown.detach()
        while shown.dim() < 4:
            shown = shown[None]
        shown = shown[:_SAMPLES]
        shown = shown[..., rows, :] if shown.shape[-2] == num_rows else shown
        visible &= shown.expand_as(logits) if shown.shape[0] in (1, logits.shape[0]) else shown[:1]
    return visible


def _seen(values: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """The values, zero where a key is hidden; None for `visible` hides none."""
    return values if visible is None else torch.where(visible, values, 0.0)


def _data_var(logits: torch.Tensor, visible: torch.Tensor | None, rows: torch.Tensor) -> torch.Tensor:
    """Row variance of the part of the logits that depends on the data.

    Half the variance of the difference of two samples; of a single sample (or of equal ones) what is left when the
    mean of every diagonal is taken away, which is what a bias of relative position adds.
    """
    two = logits.shape[0] >= 2 and bool((logits[0] != logits[1]).any())
    if two:
        both = None if visible is None else visible[:1] & visible[1:2]
        return _row_var(_seen(logits[:1] - logits[1:2], both), both).expand(logits.shape[:-1]) / 2
    shown = torch.ones_like(logits, dtype=torch.bool) if visible is None else visible
    return _row_var(_seen(logits - _diagonal_mean(logits, shown, rows), visible), visible)


def _row_var(x: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    n = x.shape[-1] if visible is None else visible.sum(-1).clamp_min(1)
    mean = _seen(x, visible).sum(-1) / n
    return _seen((x - mean[..., None]).square_(), visible).sum(-1) / n


def _diagonal_mean(x: torch.Tensor, visible: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The mean of each diagonal (key - row) over its visible entries, laid out as x is."""
    keys = x.shape[-1]
    offset = torch.arange(keys, device=x.device)[None] - rows[:, None]
    index = (offset - offset.min()).flatten().expand(*x.shape[:-2], -1)
    seen = visible.expand_as(x)
    total = x.new_zeros(*x.shape[:-2], int(index.max()) + 1)
    count = total.clone()
    total.scatter_add_(-1, index, torch.where(seen, x, 0.0).flatten(-2))
    count.scatter_add_(-1, index, seen.to(x.dtype).flatten(-2))
    return (total / count.clamp_min(1)).gather(-1, index).view_as(x)


def _entropy(logits: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
    """Entropy of the softmax of each row over its visible keys: ln Z - sum p x."""
    shown = logits if visible is None else torch.where(visible, logits, -torch.inf)
    above = shown.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    x = _seen(logits - above, visible)
    e = _seen(x.exp(), visible)
    total = e.sum(-1)
    return total.log() - (e * x).sum(-1) / total


def _reduce(logits: torch.Tensor, visible: torch.Tensor | None, rows: torch.Tensor) -> AttentionRecord | None:
    """The record of these logits; None for `visible` hides no key."""
    keys = logits.new_full(logits.shape[:-1], logits.shape[-1]).long() if visible is None else visible.sum(-1)
    long_enough = keys >= _MIN_KEYS
    if not bool(long_enough.any()):
        return None
    n = keys.clamp_min(1)
    x = _seen(logits, visible)
    var = _row_var(logits, visible)
    of_data = _data_var(logits, visible, rows)
    entropy = _entropy(x, visible)
    log_keys = n.double().log().clamp_min(1e-9)
    weight = long_enough.double()

    def per_head(values: torch.Tensor) -> torch.Tensor:
        axes = (0, 2)
        return torch.where(long_enough, values, 0.0).sum(axes) / weight.sum(axes).clamp_min(1)

    return AttentionRecord(
        num_keys=int(keys[long_enough].double().median().item()),
        logit_std=tuple(per_head(var).sqrt().tolist()),
        condensation=tuple(per_head(torch.minimum(var, of_data) / log_keys).tolist()),
        entropy=tuple(per_head(entropy / log_keys).tolist()),
    )
