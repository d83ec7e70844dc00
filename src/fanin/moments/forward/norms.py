"""Normalization: layer, root-mean-square, batch (with batch or running statistics), group and instance norm.

Also weight norm, which divides a parameter by its own norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.moments.algebra import normalised, product, summed_up
from fanin.moments.forward.elementwise import law_within
from fanin.moments.forward.maxima import parts_of
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.laws import Law, of_points
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "affine"]


def affine(frame: Frame, m: JointMoments, scale: Any, shift: Any, dim: int | None = None) -> JointMoments:
    """Moments after a learned scale and shift, along the last dimensions or along one."""
    for template, combine in ((scale, product), (shift, summed_up)):
        if template is None:
            continue
        p = frame.moments(template)
        if dim is not None:
            p = p.reshaped((*p.shape, *(1,) * (len(m.shape) - dim - 1)))
        spread = m.spread
        m = combine(m, p)
        m = m.changed(spread=spread)
    return m


def _layer_norm(frame: Frame, op: Op) -> Signal:
    x, normalized = frame.moments(op.arg(0, "input")), op.arg(1, "normalized_shape")
    dims = range(len(x.shape) - len(tuple(normalized)), len(x.shape))
    m = normalised(x, dims, eps=float(op.arg(4, "eps", 1e-5)), centre=True)
    made = frame.made(op, affine(frame, m, op.arg(2, "weight"), op.arg(3, "bias")), leaf=False)
    return replace(made, law=_law(frame, op, list(dims)))


def _rms_norm(frame: Frame, op: Op) -> Signal:
    x, normalized = frame.moments(op.arg(0, "input")), op.arg(1, "normalized_shape")
    dims = range(len(x.shape) - len(tuple(normalized)), len(x.shape))
    eps = op.arg(3, "eps")
    m = normalised(x, dims, eps=1.2e-7 if eps is None else float(eps), centre=False)
    return frame.made(op, affine(frame, m, op.arg(2, "weight"), None), leaf=False)


def _batch_norm(frame: Frame, op: Op) -> Signal:
    x = frame.moments(op.arg(0, "input"))
    running_mean, running_var, training = (
        op.arg(3, "running_mean"),
        op.arg(4, "running_var"),
        bool(op.arg(5, "training", False)),
    )
    eps = float(op.arg(7, "eps", 1e-5))
    if training or running_mean is None:
        dims = [d for d in range(len(x.shape)) if d != 1]
        m, law = normalised(x, dims, eps=eps, centre=True), _law(frame, op, dims)
    else:
        m, law = _with_running_statistics(frame, x, running_mean, running_var, eps), None
    made = frame.made(op, affine(frame, m, op.arg(1, "weight"), op.arg(2, "bias"), dim=1), leaf=False)
    return replace(made, law=law)


def _law(frame: Frame, op: Op, dims: Sequence[int]) -> Law | None:
    """The law of a normalised entry: that of an entry of its group, less its mean and over its spread.

    Channels that were joined have each the law of their own tensor.
    """
    parts = parts_of(frame, op.inputs[0])
    found = [(part.size, law_within(frame, part.value, dims)) for part in parts]
    values, weights = (np.concatenate(a) for a in zip(*((v, w * n) for n, (v, w) in found), strict=True))
    return of_points(values, weights) if values.size else None


def _with_running_statistics(frame: Frame, x: JointMoments, mean: Any, var: Any, eps: float) -> JointMoments:
    tail = (1,) * (len(x.shape) - 2)
    centre, spread = frame.numbers(mean), frame.numbers(var)
    if centre is None or spread is None:
        centre_m, gain = (
            JointMoments.constant((x.shape[1], *tail), 0.0),
            JointMoments.constant((x.shape[1], *tail), (1.0 + eps) ** -0.5),
        )
    else:
        gain = JointMoments.measured((spread.double() + eps).rsqrt().reshape(-1, *tail).numpy())
        centre_m = JointMoments.measured(centre.double().reshape(-1, *tail).numpy()).scaled(-1.0)
    return product(summed_up(x, centre_m), gain)


def _group_norm(frame: Frame, op: Op) -> Signal:
    x, groups = frame.moments(op.arg(0, "input")), int(op.arg(1, "num_groups"))
    split = x.reshaped((x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    m = normalised(split, range(2, len(split.shape)), eps=float(op.arg(4, "eps", 1e-5)), centre=True)
    return frame.made(op, affine(frame, m.reshaped(x.shape), op.arg(2, "weight"), op.arg(3, "bias"), dim=1), leaf=False)


def _instance_norm(frame: Frame, op: Op) -> Signal:
    x = frame.moments(op.arg(0, "input"))
    eps = float(op.arg(7, "eps", 1e-5))
    if op.arg(5, "use_input_stats", True):
        m = normalised(x, range(2, len(x.shape)), eps=eps, centre=True)
    else:
        m = _with_running_statistics(frame, x, op.arg(3, "running_mean"), op.arg(4, "running_var"), eps)
    return frame.made(op, affine(frame, m, op.arg(1, "weight"), op.arg(2, "bias"), dim=1), leaf=False)


def _weight_norm(frame: Frame, op: Op) -> Signal:
    v, g = frame.moments(op.arg(0, "v")), frame.moments(op.arg(1, "g"))
    dim = int(op.arg(2, "dim", 0))
    return frame.made(op, product(direction(v, [d for d in range(len(v.shape)) if d != dim]), g), leaf=False)


def direction(v: JointMoments, dims: Sequence[int]) -> JointMoments:
    """The tensor over its own Euclidean norm across dimensions."""
    count = math.prod(v.shape[d] for d in dims)
    if v.second_moment <= 0.0:
        raise NoRuleError("a tensor of zeros has no direction")
    return normalised(v, dims, eps=0.0, centre=False).scaled(count**-0.5)


RULES = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "_weight_norm": _weight_norm,
}
