"""Softmax and attention: weights over keys from Gaussian logits, and what they leave of the values' variance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.graph.ir import Op
from fanin.graph.recording.replay import run
from fanin.memory import as_array
from fanin.moments.algebra import contraction
from fanin.moments.forward.dropout import Mask
from fanin.moments.frame import SAMPLE_CAP, DrawnTensors, Frame, NoRuleError, mean_of
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "attended", "heads_like", "operands", "softmax_moments", "weights_dropped"]

_BUDGET = 1 << 16
_ROWS = 48  # queries drawn of a long sequence


def softmax_moments(
    logits: JointMoments, mask: Array | None, rng: np.random.Generator, *, gradient: JointMoments | None = None
) -> JointMoments:
    """Moments of the softmax over the last dimension of Gaussian logits (..., queries, keys), with an additive mask.

    Drawn on few heads and queries, since only pairs of them matter; every key is drawn, since they compete. With the
    `gradient` that reaches the softmax: moments of the gradient p (g - sum p g) of the logits instead.
    """
    logits = logits.merged(*range(len(logits.shape)))
    small, picks = _shrunk(logits)
    back = None if gradient is None else _shrunk(gradient.merged(*range(len(logits.shape))), like=picks)[0]
    allowed = None if mask is None else _picked(mask, logits.shape, picks)
    repeats = max(1, min(64, _BUDGET // max(1, math.prod(small.shape))))
    draws = []
    for _ in range(repeats):
        x = small.drawn(rng)
        x = x if allowed is None else np.maximum(x + allowed, -1e30)
        x = np.exp(x - x.max(axis=-1, keepdims=True))
        p = x / x.sum(axis=-1, keepdims=True)
        draws.append(JointMoments.measured(p if back is None else _pulled_back(p, back, rng)))
    out = mean_of(draws)
    for d, n in enumerate(logits.shape):
        if out.shape[d] != n:
            out = out.resized(d, n)
    return out


def _pulled_back(p: Array, gradient: JointMoments, rng: np.random.Generator) -> Array:
    g = gradient.drawn(rng).reshape(p.shape)
    return np.asarray(p * (g - (p * g).sum(axis=-1, keepdims=True)))


def _shrunk(
    logits: JointMoments, like: Sequence[npt.NDArray[np.int64]] | None = None
) -> tuple[JointMoments, list[npt.NDArray[np.int64]]]:
    """Logits of at most two samples, two heads and some queries, spread evenly; and which ones."""
    small, picks = logits, []
    rank = len(logits.shape)
    tight = math.prod(logits.shape) > _BUDGET // 4
    for d, n in enumerate(logits.shape):
        most = n if d == rank - 1 or not tight else _ROWS if d == rank - 2 else 2
        chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if like is None else like[d]
        picks.append(chosen)
        if chosen.size != n:
            small = small.resized(d, chosen.size)
    return small, picks


def _picked(mask: Array, shape: Sequence[int], picks: Sequence[npt.NDArray[np.int64]]) -> Array:
    mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
    for d, chosen in enumerate(picks):
        if mask.shape[d] != 1:
            mask = np.take(mask, chosen, axis=d)
    return mask


def additive(mask: Any) -> Array:
    """A mask as numbers to add: True or 0 lets a key in."""
    array = mask.detach().cpu()
    if array.dtype.is_floating_point:
        return as_array(array.double())
    return np.where(as_array(array).astype(bool), 0.0, -1e30)


def attended(
    q: JointMoments,
    k: JointMoments,
    v: JointMoments,
    *,
    scale: float,
    mask: Array | None,
    rng: np.random.Generator,
    dropped: Mask | None = None,
) -> tuple[JointMoments, JointMoments]:
    """Attention weights, before any is dropped, and output of queries, keys and values (..., tokens, features).

    Weights are dropped by `dropped` on the way to the output.

    Values are independent of queries and keys but for what keys and values share: both are maps of the same tokens, so
    that a query draws the values of tokens like it. That adds the variance of its logits over features to the square of
    the output, beside the sum of squared weights that independent values give.
    """
    rank = len(q.shape)
    lead = "ABCDEF"[: rank - 2]
    logits = contraction(f"{lead}qd,{lead}kd->{lead}qk", [q, k], (*_lead(q, k), q.shape[-2], k.shape[-2])).scaled(scale)
    drawn_weights = softmax_moments(logits, mask, rng)
    weights = drawn_weights if dropped is None else dropped.applied(drawn_weights)
    out = contraction(f"{lead}qk,{lead}kd->{lead}qd", [weights, v], (*_lead(q, v), q.shape[-2], v.shape[-1]))
    drawn = _drawn_to(logits, weights, math.prod(k.shape[-1:]) * (k.shape[-3] if rank > 3 else 1))
    width_var = v.width_var + v.own_var + math.log1p(drawn) ** 2 + _of_cancelled(out, weights, v)
    return drawn_weights, out.scaled((1.0 + drawn) ** 0.5).changed(width_var=width_var)


def _drawn_to(logits: JointMoments, weights: JointMoments, features: int) -> float:
    """What values of tokens like the query add to the output's energy, relative to that of independent values."""
    keys = logits.shape[-1]
    spread = logits.second_moment - logits.pair(len(logits.shape) - 1) if keys > 1 else 0.0
    squares = keys * weights.second_moment
    drawn = max(spread, 0.0) / (max(features, 1) * squares) if squares > 0.0 else 0.0
    return drawn if math.isfinite(drawn) else 0.0


def _of_cancelled(out: JointMoments, weights: JointMoments, values: JointMoments) -> float:
    """Variance of the log of the output's energy, where values cancel: tokens that a batch norm centred, say.

    Then it is what is left of the energy that independent values would give, so that an error of the covariance counts
    as often as that energy exceeds it.
    """
    alone = values.second_moment * weights.shape[-1] * weights.second_moment
    left = out.second_moment / alone if alone > 0.0 else 1.0
    return (_COVARIANCE_SE * (1.0 / left - 1.0)) ** 2 if 0.0 < left < 1.0 else 0.0


_COVARIANCE_SE = 0.034  # of a covariance between tokens, over the energy of one: chance in about 1,000 numbers


def _lead(a: JointMoments, b: JointMoments) -> tuple[int, ...]:
    return tuple(max(x, y) for x, y in zip(a.shape[:-2], b.shape[:-2], strict=True))


def operands(frame: Frame, op: Op) -> tuple[JointMoments, JointMoments, JointMoments, Array | None, float]:
    """Queries, keys, values, mask and scale of a fused attention."""
    q, k, v = (frame.moments(op.arg(i, n)) for i, n in enumerate(("query", "key", "value")))
    given = op.arg(3, "attn_mask")
    mask = None
    if given is not None:
        numbers = frame.numbers(given)
        mask = _expected_mask(frame, given) if numbers is None else additive(numbers)
    if op.arg(5, "is_causal", False):
        mask = np.triu(np.full((q.shape[-2], k.shape[-2]), -1e30), 1)
    scale = op.kwargs.get("scale")
    return q, k, v, mask, q.shape[-1] ** -0.5 if scale is None else float(scale)


def _sdpa(frame: Frame, op: Op) -> Signal:
    q, k, v, mask, scale = operands(frame, op)
    wide_k, wide_v = heads_like(q, k), heads_like(q, v)
    dropped = weights_dropped(frame, op)
    weights, out = attended(q, wide_k, wide_v, scale=scale, mask=mask, rng=frame.rng, dropped=dropped)
    frame.attention[op.index] = weights
    return frame.made(op, out)


def weights_dropped(frame: Frame, op: Op) -> Mask | None:
    """The dropout that a fused attention applies to its weights; None for none."""
    p = float(op.arg(4, "dropout_p", 0.0))
    if not frame.training or p == 0.0:
        return None
    return Mask(1.0 - p, 0.0, 0.0 if p == 1.0 else 1.0 / (1.0 - p), 0.0, channels=False)


def _expected_mask(frame: Frame, template: Any) -> Array:
    """A mask that depends on parameters (a relative position bias): one draw of it."""
    drawn = frame.draw(template.index, DrawnTensors())
    return np.asarray(drawn.double().numpy())


def heads_like(q: JointMoments, k: JointMoments) -> JointMoments:
    """Keys repeated over the queries of their group."""
    if len(q.shape) < 3 or k.shape[-3] in (q.shape[-3], 1):
        return k
    heads, groups = q.shape[-3], k.shape[-3]
    wide = k.reshaped((*k.shape[:-3], groups, 1, *k.shape[-2:])).expanded(
        (*k.shape[:-3], groups, heads // groups, *k.shape[-2:])
    )
    return wide.reshaped((*k.shape[:-3], heads, *k.shape[-2:]))


def _softmax(frame: Frame, op: Op) -> Signal:
    """Softmax of whatever leads to it (masks, biases), drawn again from the last Gaussian tensors."""
    value = op.inputs[0]
    m = frame.moments_at(value)
    if math.prod(m.shape) > SAMPLE_CAP:
        raise NoRuleError("softmax over too many entries to draw")
    dim = int(op.arg(1, "dim", -1))
    s = frame.signals[value]
    if s.leaf and not s.is_masked and s.numbers is None and dim in (-1, len(m.shape) - 1) and op.name == "softmax":
        return frame.made(op, softmax_moments(m, None, frame.rng), leaf=False)
    repeats = max(1, min(16, _BUDGET // math.prod(m.shape)))
    draws = []
    for number in range(repeats):
        env = DrawnTensors(number=number)
        frame.draw(value, env)
        draws.append(JointMoments.measured(run(op, env.__getitem__)[0].double().numpy()))
    return frame.made(op, mean_of(draws), leaf=False)


RULES = {"scaled_dot_product_attention": _sdpa, "softmax": _softmax, "log_softmax": _softmax}
