"""Backward through sums, products and functions of single entries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.moments import kernel as kn
from fanin.moments.algebra import concatenated, product
from fanin.moments.backward.common import added, received, unbroadcast
from fanin.moments.forward.elementwise import (
    chain_slope,
    correlation,
    imaged,
    local_slope,
    sampled_pairs,
    source_image,
)
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.hermite import gaussian_image
from fanin.moments.kernel import Array
from fanin.moments.moments import Moments, aligned

__all__ = ["RULES", "chain_gradients", "local_gradients"]


def _sum(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
    """add, sub, rsub: the gradient goes to every summand."""
    g = received(grads)
    if g is None:
        return {}
    alpha = float(op.kwargs.get("alpha", 1.0))
    left, right = op.arg(0), op.arg(1, "other")
    weights = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[op.name]
    out: dict[int, Moments] = {}
    for template, weight in zip((left, right), weights, strict=True):
        if isinstance(template, Ref):
            part = unbroadcast(g, frame.graph.value(template.index).shape).scaled(weight)
            out[template.index] = added([out[template.index], part]) if template.index in out else part
    return out


def _mul(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
    g = received(grads)
    if g is None:
        return {}
    left, right = op.arg(0), op.arg(1, "other")
    out: dict[int, Moments] = {}
    for own, other in ((left, right), (right, left)):
        if isinstance(own, Ref) and frame.graph.value(own.index).is_float:
            part = unbroadcast(product(g, frame.moments(other)), frame.graph.value(own.index).shape)
            out[own.index] = added([out[own.index], part]) if own.index in out else part
    return out


def chain_gradients(frame: Frame, op: Op, g: Moments) -> dict[int, Moments]:
    """What the sources of an elementwise chain receive: the gradient times the chain's whole derivative."""
    region = frame.signals[op.output].region
    shape = frame.graph.value(op.output).shape
    out = {}
    for source in region:
        if frame.signals[source].numbers is not None or not frame.graph.value(source).is_float:
            continue
        slope, kappa = _slope(frame, op, source, region, shape)
        out[source] = unbroadcast(_through(g, slope, kappa), frame.graph.value(source).shape)
    return out


def _slope(frame: Frame, op: Op, source: int, region: Sequence[int], shape: tuple[int, ...]) -> tuple[Moments, float]:
    """Moments of the derivative of a chain by one of its sources, and the relative variance of its square."""
    if len(region) == 1:
        m = frame.signals[source].known.expanded(shape)
        image = source_image(frame, chain_slope(frame, op, source), source)
        return imaged(m, image), image.kappa
    return sampled_pairs(frame, op, region, shape, by=source)[0], 0.0


def _through(g: Moments, slope: Moments, kappa: float) -> Moments:
    """A gradient times a slope that is independent of it.

    How far finite width moved the signal says little of its slope (nothing, for a ReLU), so only the gradient's own
    scatter goes on; but entries that are sometimes cut off scatter more than Gaussian ones. For a pair of entries with
    gradient correlation c and slope correlation r, the squares have the relative covariance
    (1 + 2 c^2) (1 + kappa r) - 1: 5 / n over n entries behind a ReLU (Hanin and Rolnick 2018, arXiv 1803.01719).
    """
    made = product(g, slope)
    if not (g.second_moment > 0.0 and math.isfinite(kappa)):
        return replace(made, width_var=g.width_var)
    ours, theirs = aligned([g, slope])
    squares = 2.0 * np.square(ours.covariance / ours.second_moment)
    scatter = (1.0 + squares) * (1.0 + kappa * correlation(theirs)) - 1.0
    return replace(made, width_var=g.width_var, spread=max(kn.pair_mean(scatter, made.sizes), 0.0))


def local_gradients(frame: Frame, op: Op, g: Moments) -> dict[int, Moments]:
    """What each operand of one elementwise op receives, by the derivative of that op alone."""
    rule = RULES.get(op.name)
    if rule is not None:
        return dict(rule(frame, op, [g]))
    tensors = [
        v for v in dict.fromkeys(op.inputs) if frame.graph.value(v).is_float and frame.signals[v].numbers is None
    ]
    if len(tensors) != 1:
        raise NoRuleError(f"{op.name} of several tensors")
    shape = frame.graph.value(op.output).shape
    slope, kappa = _ratio(frame, op, tensors[0], shape)
    return {tensors[0]: unbroadcast(_through(g, slope, kappa), frame.graph.value(tensors[0]).shape)}


def _ratio(frame: Frame, op: Op, operand: int, shape: tuple[int, ...]) -> tuple[Moments, float]:
    """Slope of the op at its operand, which is taken as Gaussian, and the relative variance of its square."""
    m = frame.moments_at(operand).expanded(shape)
    image = source_image(frame, local_slope(frame, op, operand), operand)
    return imaged(m, image), image.kappa


def _glu(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
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


def _handed_on(frame: Frame, op: Op, grads: Sequence[Moments | None]) -> Mapping[int, Moments]:
    g = received(grads)
    return {} if g is None else {op.inputs[0]: unbroadcast(g, frame.graph.value(op.inputs[0]).shape)}


_IDENTITIES = [
    "contiguous",
    "clone",
    "data",
    "to",
    "float",
    "double",
    "half",
    "bfloat16",
    "type",
    "alias",
    "type_as",
    "cpu",
    "cuda",
    "neg",
]

RULES = {
    "add": _sum,
    "sub": _sum,
    "rsub": _sum,
    "mul": _mul,
    "glu": _glu,
    **dict.fromkeys(_IDENTITIES, _handed_on),
}
