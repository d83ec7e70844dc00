"""Backward through embeddings: a row receives the gradients of all places that read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fanin.graph.ir import Op
from fanin.memory import as_array
from fanin.moments.backward.common import received
from fanin.moments.forward.lookups import equality_kernel
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _embedding(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """A row receives the gradients of all places that read it."""
    g = received(grads)
    if g is None:
        return {}
    weight, ids = op.inputs[0], op.inputs[1]
    if not frame.graph.value(weight).is_float:
        weight, ids = ids, weight
    rows, features = frame.graph.value(weight).shape
    shape = frame.graph.value(ids).shape
    count = int(np.prod(shape, dtype=np.int64))
    flat = g.reshaped((count, features)).merged(0, 1)
    numbers = frame.signals[ids].numbers
    equal = (
        float(equality_kernel(as_array(numbers.reshape(-1).cpu()))[0])
        if numbers is not None and count > 1
        else 1.0 / rows
    )
    per_row = count * (flat.second_moment + (count - 1) * equal * (flat.pair(0) if count > 1 else 0.0)) / rows
    return {weight: JointMoments.iid((rows, features), var=max(per_row, 0.0))}


RULES = {"embedding": _embedding}
