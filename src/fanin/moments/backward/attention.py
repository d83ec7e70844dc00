"""Backward through softmax and attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fanin.graph.ir import Op
from fanin.moments.algebra import contraction
from fanin.moments.backward.common import crowded, received, unbroadcast
from fanin.moments.forward.attention import heads_like, operands, softmax_moments, weights_dropped
from fanin.moments.frame import Frame, mean_of
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _sdpa(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    q, k, v, mask, scale = operands(frame, op)
    lead = "ABCDEF"[: len(q.shape) - 2]
    wide_k, wide_v = heads_like(q, k), heads_like(q, v)
    square = (*g.shape[:-1], k.shape[-2])
    logits = contraction(f"{lead}qd,{lead}kd->{lead}qk", [q, wide_k], square).scaled(scale)
    weights, dropped = frame.attention.get(op.index), weights_dropped(frame, op)
    weights = softmax_moments(logits, mask, frame.rng) if weights is None else weights  # it was sampled forward
    weights = weights if dropped is None else dropped.applied(weights)
    to_v = contraction(f"{lead}qk,{lead}qd->{lead}kd", [weights, g], (*g.shape[:-2], *v.shape[-2:]))
    to_weights = contraction(f"{lead}qd,{lead}kd->{lead}qk", [g, wide_v], square)
    to_weights = to_weights if dropped is None else dropped.passed_back(to_weights)
    to_logits = softmax_moments(logits, mask, frame.rng, gradient=to_weights).scaled(scale)
    to_q = contraction(f"{lead}qk,{lead}kd->{lead}qd", [to_logits, wide_k], q.shape)
    to_k = contraction(f"{lead}qk,{lead}qd->{lead}kd", [to_logits, q], (*g.shape[:-2], *k.shape[-2:]))
    features = k.shape[-1] * (k.shape[-3] if len(k.shape) > 3 else 1)
    to_q, to_k = (crowded(m, k.shape[-2], features, of_query=i == 0) for i, m in enumerate((to_q, to_k)))
    return {op.inputs[0]: to_q, op.inputs[1]: _grouped(to_k, k.shape), op.inputs[2]: _grouped(to_v, v.shape)}


def _grouped(g: JointMoments, shape: tuple[int, ...]) -> JointMoments:
    """Gradient of keys or values that several query heads share."""
    if g.shape == shape:
        return g
    if len(shape) < 3 or shape[-3] in (1, g.shape[-3]):
        return unbroadcast(g, shape)
    split = (*g.shape[:-3], shape[-3], g.shape[-3] // shape[-3], *g.shape[-2:])
    return replace(g.reshaped(split).summed([len(split) - 3]), spread=None)


def _softmax(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """P (g - sum p g) on the weights that were drawn in the forward sweep."""
    g = received(grads)
    if g is None:
        return {}
    dim = int(op.arg(1, "dim", -1))
    draws = []
    for env in frame.drawn(max(1, min(8, (1 << 16) // max(1, math.prod(g.shape))))):
        p = frame.draw(op.output, env).double().numpy()
        noise = g.drawn(frame.rng)
        draws.append(JointMoments.measured(p * (noise - (p * noise).sum(axis=dim, keepdims=True))))
    return {op.inputs[0]: mean_of(draws)}


RULES = {"scaled_dot_product_attention": _sdpa, "softmax": _softmax}
