"""Backward through sums and products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.model.operations import SAME_NUMBERS
from fanin.moments.algebra import concatenated, product
from fanin.moments.backward.common import added, received, unbroadcast
from fanin.moments.forward.elementwise import (
    imaged,
)
from fanin.moments.frame import Frame
from fanin.moments.hermite import gaussian_image
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _sum(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """add, sub, rsub: the gradient goes to every summand."""
    g = received(grads)
    if g is None:
        return {}
    alpha = float(op.kwargs.get("alpha", 1.0))
    left, right = op.arg(0), op.arg(1, "other")
    weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[op.name]
    out: dict[int, JointMoments] = {}
    for template, weight in zip((left, right), weights, strict=True):
        if isinstance(template, Ref):
            part = unbroadcast(g, frame.graph.value(template.index).shape).scaled(weight)
            out[template.index] = added([out[template.index], part]) if template.index in out else part
    return out


def _mul(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    left, right = op.arg(0), op.arg(1, "other")
    out: dict[int, JointMoments] = {}
    for own, other in ((left, right), (right, left)):
        if isinstance(own, Ref) and frame.graph.value(own.index).is_float:
            back = product(g, frame.moments(other)).scaled(_favour(frame, op, g, other) ** 0.5)
            part = unbroadcast(back, frame.graph.value(own.index).shape)
            out[own.index] = added([out[own.index], part]) if own.index in out else part
    return out


def _favour(frame: Frame, op: Op, g: JointMoments, factor: Any) -> float:
    """Mean square of a factor where the gradient is, over that everywhere: a maximum picks entries that are large."""
    picked = frame.favours.get(op.output, {}).get(factor.index) if isinstance(factor, Ref) else None
    if picked is None or not g.second_moment > 0.0:
        return 1.0
    share = min(picked[0] / g.second_moment, 1.0)
    return 1.0 + share * (picked[1] - 1.0)


def _glu(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """To one half g sigmoid(b), to the other g a sigmoid'(b): the average of both kinds of entries."""
    g = received(grads)
    if g is None:
        return {}
    x, dim = frame.moments(op.arg(0, "input")), int(op.arg(1, "dim", -1))
    half = x.resized(dim, x.shape[dim] // 2)
    gate = imaged(half, gaussian_image(_sigmoid, mean=half.mean, var=half.entry_var))
    slope = imaged(half, gaussian_image(_sigmoid_slope, mean=half.mean, var=half.entry_var))
    return {op.inputs[0]: concatenated([product(g, gate), product(g, half, slope)], dim)}


def _sigmoid(z: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _sigmoid_slope(z: Array) -> Array:
    return np.asarray(0.25 / np.square(np.cosh(0.5 * z)))


def _handed_on(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    return {} if g is None else {op.inputs[0]: unbroadcast(g, frame.graph.value(op.inputs[0]).shape)}


RULES = {
    "add": _sum,
    "sub": _sum,
    "rsub": _sum,
    "mul": _mul,
    "glu": _glu,
    **dict.fromkeys(sorted(SAME_NUMBERS - {"detach"} | {"neg"}), _handed_on),
}
