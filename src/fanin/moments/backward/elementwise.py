"""Backward through functions of single entries: the gradient times a slope, of a whole chain or of one op."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fanin.graph.ir import Op
from fanin.moments import kernel as kn
from fanin.moments.algebra import product
from fanin.moments.backward.arithmetic import RULES as ARITHMETIC
from fanin.moments.backward.common import unbroadcast
from fanin.moments.forward.elementwise import (
    chain_slope,
    imaged,
    inner_slope,
    inner_values,
    local_slope,
    sampled_pairs,
)
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.moments import JointMoments, aligned
from fanin.moments.sources import correlation, normal_correlation, source_image

__all__ = ["chain_gradients", "inner_gradients", "local_gradients"]


def chain_gradients(frame: Frame, op: Op, g: JointMoments) -> dict[int, JointMoments]:
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


def inner_gradients(frame: Frame, op: Op, g: JointMoments) -> dict[int, JointMoments]:
    """What the values inside a chain of one source receive from its end, each by one slope of the whole rest."""
    (source,) = frame.signals[op.output].region
    out = {}
    for value in inner_values(frame, op, source):
        m = frame.signals[source].known.expanded(g.shape)
        image = source_image(frame, inner_slope(frame, op, source, value), source)
        slope = imaged(m, image, normal_correlation(frame, source, m))
        out[value] = unbroadcast(_through(g, slope, image.kappa), frame.graph.value(value).shape)
    return out


def _slope(
    frame: Frame, op: Op, source: int, region: Sequence[int], shape: tuple[int, ...]
) -> tuple[JointMoments, float]:
    """Moments of the derivative of a chain by one of its sources, and the relative variance of its square."""
    if len(region) == 1:
        m = frame.signals[source].known.expanded(shape)
        image = source_image(frame, chain_slope(frame, op, source), source)
        return imaged(m, image, normal_correlation(frame, source, m)), image.kappa
    return sampled_pairs(frame, op, region, shape, by=source)[0], 0.0


def _through(g: JointMoments, slope: JointMoments, kappa: float) -> JointMoments:
    """A gradient times a slope that is independent of it.

    How far finite width moved the signal says little of its slope (nothing, for a ReLU), so only the gradient's own
    scatter goes on; but entries that are sometimes cut off scatter more than Gaussian ones. For a pair of entries with
    gradient correlation c and slope correlation r, the squares have the relative covariance
    (1 + 2 c^2) (1 + kappa r) - 1: 5 / n over n entries behind a ReLU (Hanin and Rolnick 2018, arXiv 1803.01719).
    """
    made = product(g, slope)
    if not (g.second_moment > 0.0 and math.isfinite(kappa)):
        return made.changed(width_var=g.width_var)
    ours, theirs = aligned([g, slope])
    squares = 2.0 * np.square(ours.covariance / ours.second_moment)
    scatter = (1.0 + squares) * (1.0 + kappa * correlation(theirs)) - 1.0
    return made.changed(width_var=g.width_var, spread=max(kn.pair_mean(scatter, made.sizes), 0.0))


def local_gradients(frame: Frame, op: Op, g: JointMoments) -> dict[int, JointMoments]:
    """What each operand of one elementwise op receives, by the derivative of that op alone."""
    rule = ARITHMETIC.get(op.name)
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


def _ratio(frame: Frame, op: Op, operand: int, shape: tuple[int, ...]) -> tuple[JointMoments, float]:
    """Slope of the op at its operand, which is taken as Gaussian, and the relative variance of its square."""
    m = frame.moments_at(operand).expanded(shape)
    image = source_image(frame, local_slope(frame, op, operand), operand)
    return imaged(m, image, normal_correlation(frame, operand, m)), image.kappa
