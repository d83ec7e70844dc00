"""Backward through means and sums: the gradient is repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op
from fanin.moments.backward.common import received
from fanin.moments.forward.reductions import reduced_dims
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _repeated(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    shape = frame.graph.value(op.inputs[0]).shape
    dims = reduced_dims(op, len(shape))
    kept = [1 if d in dims else n for d, n in enumerate(shape)]
    out = g.reshaped(kept).expanded(shape)
    return {op.inputs[0]: out.scaled(1.0 / math.prod(shape[d] for d in dims)) if op.name == "mean" else out}


RULES = {"mean": _repeated, "sum": _repeated}
