"""Statistics of a tensor as norms write them out: E x^2 - (E x)^2, and the tensor times or over a statistic of itself.

Norms that torch does by one operation are in `fanin.moments.forward.norms`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.model.operations import BROADCASTS, RESHAPES, SAME_NUMBERS
from fanin.moments import kernel as kn
from fanin.moments.algebra import product
from fanin.moments.forward.common import passed_on
from fanin.moments.forward.elementwise import applied, evaluate, region_of
from fanin.moments.forward.reductions import reduced_dims
from fanin.moments.frame import Frame, NoRuleError, measured
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["less_own_mean", "self_averaging", "variance"]


# ---------------------------------------------------------------------- E x^2 - (E x)^2
def variance(frame: Frame, op: Op) -> Signal | None:
    """The difference of a mean square and the square of the mean over the same dimensions, at its mean.

    None where an op is something else. The numbers of a constant input are not followed here.
    """
    left, right = op.ref(0), op.ref(1, "other")
    if left is None or right is None or op.kwargs.get("alpha", 1.0) != 1.0:
        return None
    whole, of_mean = _mean_of(frame, left), _squared(frame, right)
    inner = None if of_mean is None else _mean_of(frame, of_mean)
    if whole is None or inner is None or whole[1] != inner[1] or _squared(frame, whole[0]) != inner[0]:
        return None
    x = frame.signals[inner[0]]
    if x.moments is None or x.numbers is not None:
        return None
    second = max(kn.diagonal(kn.centred(x.moments.kernel, x.moments.sizes, x.moments.axes_of(inner[1]))), 0.0)
    shape = frame.graph.value(op.output).shape
    return frame.made(op, JointMoments.constant(shape, second), leaf=False)


def _mean_of(frame: Frame, value: int) -> tuple[int, tuple[int, ...]] | None:
    """What a value is the mean of, and over which dimensions."""
    op = frame.graph.producer(value)
    if op is not None and op.name == "div":
        divisor, total = frame.signal(op.arg(1, "other")).constant, frame.graph.producer(op.inputs[0])
        is_count = total is not None and total.name == "sum" and divisor == _count(frame, total)
        op = total if is_count else None
    elif op is not None and op.name != "mean":
        op = None
    return None if op is None else (frame.first(op.inputs[0]), tuple(reduced_dims(op, _rank(frame, op))))


def _rank(frame: Frame, op: Op) -> int:
    return len(frame.graph.value(op.inputs[0]).shape)


def _count(frame: Frame, op: Op) -> float:
    """How many entries a sum is of."""
    return frame.graph.value(op.inputs[0]).numel / max(frame.graph.value(op.output).numel, 1)


def _squared(frame: Frame, value: int) -> int | None:
    """What a value is the square of."""
    op = frame.graph.producer(value)
    if op is None:
        return None
    is_product = op.name == "mul" and len(op.args) == 2 and op.args[0] == op.args[1]
    is_power = op.name == "pow" and op.arg(1, "exponent") == 2
    return frame.first(op.inputs[0]) if op.name == "square" or is_product or is_power else None


# ---------------------------------------------------------------------- x - E x
def less_own_mean(frame: Frame, op: Op) -> JointMoments | None:
    """Moments of a tensor less its own mean over dimensions; None where an op is something else."""
    left, right = op.ref(0), op.ref(1, "other")
    if left is None or right is None or op.kwargs.get("alpha", 1.0) != 1.0 or not frame.signals[right].atoms:
        return None
    found = _mean_of(frame, _before_views(frame, right))
    x = frame.signals[left].moments
    if x is None or found is None or found[0] != frame.first(left):
        return None
    return x.changed(mean=0.0, kernel=kn.centred(x.kernel, x.sizes, x.axes_of(found[1])), spread=None)


def _before_views(frame: Frame, value: int) -> int:
    op = frame.graph.producer(value)
    while op is not None and op.name in _VIEWS:
        value = op.inputs[0]
        op = frame.graph.producer(value)
    return value


# ---------------------------------------------------------------------- x times a statistic of x
def self_averaging(frame: Frame, op: Op, left: int, right: int) -> Signal | None:
    """A tensor times (or over) a statistic of itself, as norms compute it: the statistic is taken at its mean."""
    for whole, part in ((left, right), (right, left)):
        if part == left and op.name == "div":
            continue
        if _is_statistic_of(frame, part, whole):
            scaled = passed_on(frame, op, whole, _plug_in(frame, op, whole, part))
            return replace(scaled, atoms={}, region=(), depth=0)
        for statistic, scale in _with_scale(frame, part) if op.name == "mul" else ():
            normed = _normed(frame, op, whole, statistic, part)
            if normed is not None:
                return frame.made(op, product(normed, frame.moments_at(scale)), leaf=False)
    return None


def _normed(frame: Frame, op: Op, whole: int, statistic: int, part: int) -> JointMoments | None:
    """Moments of a tensor times a statistic of itself, before a scale that multiplied the statistic first."""
    numbers, factor = frame.signals[whole].numbers, frame.signals[statistic].numbers
    if numbers is not None and factor is not None:
        return measured(numbers * factor)
    if not _is_statistic_of(frame, statistic, whole):
        return None
    return frame.moments_at(whole).scaled(_plug_in(frame, op, whole, statistic, read_as=part))


def _with_scale(frame: Frame, part: int) -> list[tuple[int, int]]:
    """A factor as (statistic, learned scale), where it is their product."""
    maker = frame.graph.producer(part)
    if maker is None or maker.name != "mul" or len(maker.inputs) != 2:
        return []
    return [(one, other) for one, other in (maker.inputs, maker.inputs[::-1]) if frame.signals[other].weight_only]


def _is_statistic_of(frame: Frame, part: int, whole: int) -> bool:
    """Whether `part` is a function of reductions of what `whole` is made of."""
    sources = region_of(frame, part)
    if not sources or frame.signals[part].numbers is not None:
        return False
    fine, coarse = frame.graph.value(whole), frame.graph.value(part)
    if coarse.numel >= fine.numel:
        return False
    roots = frame.bases(whole)
    return all(_is_reduced(frame, v) and frame.signals[v].known.mean > 0.0 and frame.bases(v) & roots for v in sources)


def _is_reduced(frame: Frame, value: int) -> bool:
    """Whether a value is a reduction, perhaps reshaped since, or a difference of two, such as E x^2 - (E x)^2."""
    op = frame.graph.producer(value)
    while op is not None and op.name in _THROUGH and op.inputs:
        op = frame.graph.producer(next((v for v in op.inputs if frame.signals[v].from_data), op.inputs[0]))
    if op is not None and op.name == "sub" and len(op.inputs) == 2:
        return all(_is_reduced(frame, v) for v in op.inputs)
    return op is not None and op.name in _STATISTICS


_VIEWS = RESHAPES | BROADCASTS | SAME_NUMBERS | {"getitem"}
_THROUGH = _VIEWS | {"add", "mul", "clamp", "clamp_min", "maximum", "relu", "sqrt", "rsqrt", "pow", "square"}
_STATISTICS = frozenset(["mean", "sum", "var", "std", "norm", "var_mean", "std_mean", "amax", "max", "logsumexp"])


def _plug_in(frame: Frame, op: Op, whole: int, part: int, *, read_as: int | None = None) -> float:
    """What the op makes of 1 when the statistic is at its mean; `read_as`: the operand that stands for it."""
    import torch

    env: dict[int, Any] = {
        v: torch.tensor(frame.signals[v].known.mean, dtype=torch.float64) for v in region_of(frame, part)
    }
    evaluate(frame, part, env)
    if read_as is not None:
        env[read_as] = env[part]
    env[frame.first(whole)] = torch.tensor(1.0, dtype=torch.float64)
    value = float(applied(frame, op, env))
    if not np.isfinite(value):
        raise NoRuleError("the statistic is zero")
    return value
