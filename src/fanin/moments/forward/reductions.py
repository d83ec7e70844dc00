"""Means, sums and spreads over dimensions; cumulative ones are sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.graph.ir import Op, Ref
from fanin.moments import kernel as kn
from fanin.moments.algebra import unsure_of_places
from fanin.moments.forward.common import as_atoms
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.members import Members
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Atom, Reduced, Signal

__all__ = ["RULES", "reduced_dims"]

_OF_PICTURES = 4  # dimensions of a batch of pictures


def reduced_dims(op: Op, rank: int, position: int = 1) -> list[int]:
    """Dimensions that a reduction runs over."""
    given = op.arg(position, "dim")
    if given is None or isinstance(given, str):
        return list(range(rank))
    if isinstance(given, bool):
        raise NoRuleError("no dimension given")
    dims = [given] if isinstance(given, int) else [int(d) for d in given]
    return sorted({d % max(rank, 1) for d in dims}) or list(range(rank))


def _keepdim(op: Op, position: int = 2) -> bool:
    return bool(op.arg(position, "keepdim", False))


def _mean(frame: Frame, op: Op) -> Signal:
    return _added_up(frame, op, mean=True)


def _sum(frame: Frame, op: Op) -> Signal:
    return _added_up(frame, op, mean=False)


def _added_up(frame: Frame, op: Op, *, mean: bool) -> Signal:
    x = frame.moments(op.arg(0, "input"))
    dims, keep = reduced_dims(op, len(x.shape)), _keepdim(op)
    count = 1.0 if mean else float(math.prod(x.shape[d] for d in dims))
    m = replace(x.summed(dims, keepdim=keep, mean=mean), spread=None)
    m = unsure_of_places(m, count * x.rms) if _are_places(dims, len(x.shape)) else m
    made = frame.made(op, m, leaf=False)
    made = replace(made, positive=frame.signals[op.inputs[0]].positive)
    atoms = _averaged_atoms(frame, op.arg(0, "input"), dims, len(x.shape), count)
    if keep or not atoms:
        return replace(made, atoms=atoms)
    return replace(made, reduced=Reduced(tuple(1 if d in dims else n for d, n in enumerate(x.shape)), atoms))


def _are_places(dims: Sequence[int], rank: int) -> bool:
    """Whether these are the places of pictures or volumes, which torch has behind the channels."""
    return rank >= _OF_PICTURES and min(dims) > 1


def _averaged_atoms(frame: Frame, template: Any, dims: Sequence[int], rank: int, count: float) -> dict[Any, Atom]:
    """The mean of a sum, times a number, as the sum of the means of its terms.

    They are marked as averages, so that they differ from fresh tensors.
    """
    if not isinstance(template, Ref):
        return {}
    out = {}
    for (value, averaged), atom in as_atoms(frame, template).items():
        own = [d - (rank - len(atom.moments.shape)) for d in dims]
        m = atom.moments.summed([d for d in own if d >= 0], keepdim=True, mean=True)
        out[value, averaged | {rank - d for d in dims}] = Atom(count * atom.factor, replace(m, spread=None))
    return out


def _spread(frame: Frame, op: Op) -> Signal:
    """Variance or standard deviation: its mean; its own fluctuation is left to the norm that uses it."""
    x = frame.moments(op.arg(0, "input"))
    dims = reduced_dims(op, len(x.shape))
    axes = x.axes_of(dims)
    count = math.prod(x.shape[d] for d in dims)
    second = max(kn.diagonal(kn.centred(x.kernel, x.sizes, axes)), 0.0)
    if op.kwargs.get("unbiased", op.kwargs.get("correction", 1)) and count > 1:
        second *= count / (count - 1)
    value = math.sqrt(second) if op.name == "std" else second
    shape = frame.graph.value(op.output).shape
    return replace(frame.made(op, JointMoments.constant(shape, value), leaf=False), shared=_shared(frame, op))


def _norm(frame: Frame, op: Op) -> Signal:
    """Euclidean norm over dimensions, at its typical value."""
    x = frame.moments(op.arg(0, "input"))
    order = op.arg(1, "ord", op.kwargs.get("p", 2))
    if order not in (2, 2.0, None, "fro"):
        raise NoRuleError(f"norm of order {order}")
    dims = reduced_dims(op, len(x.shape), position=2)
    count = math.prod(x.shape[d] for d in dims)
    value = math.sqrt(max(x.second_moment, 0.0) * count)
    shape = frame.graph.value(op.output).shape
    return replace(frame.made(op, JointMoments.constant(shape, value), leaf=False), shared=_shared(frame, op))


def _shared(frame: Frame, op: Op) -> Members:
    found = 0
    for v in op.inputs:
        found |= frame.bases(v)
    return found


def _cumsum(frame: Frame, op: Op) -> Signal:
    """Running sum: the kernel averaged over the places along the dimension."""
    x = frame.moments(op.arg(0, "input"))
    dim = int(op.arg(1, "dim")) % len(x.shape)
    x = x.merged(dim)
    n = x.shape[dim]
    if n == 1:
        return frame.made(op, x)
    (axis,) = x.axes(dim)
    k = np.moveaxis(x.kernel, axis, 0)
    agree = ((n + 1) / 2) * k[1] + ((n + 1) * (2 * n + 1) / 6 - (n + 1) / 2) * k[0]
    smaller, both = (n + 1) / 3, (n + 1) * (3 * n + 2) / 12  # E min(i, j) and E i j over different places
    differ = smaller * k[1] + (both - smaller) * k[0]
    kernel = np.stack((differ, agree), axis)
    # Its places differ, which a field of one law does not: what is sampled behind it is run from what it sums.
    return frame.made(op, replace(x, kernel=kernel, mean=x.mean * (n + 1) / 2, spread=None), leaf=False)


RULES = {
    "mean": _mean,
    "sum": _sum,
    "var": _spread,
    "std": _spread,
    "norm": _norm,
    "cumsum": _cumsum,
}
