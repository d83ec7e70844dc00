"""Backward through dropout: the kept entries receive the gradient, the others nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op
from fanin.moments.backward.common import received
from fanin.moments.forward.dropout import RULES as FORWARD
from fanin.moments.forward.dropout import mask_of
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES"]


def _dropout(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g, mask = received(grads), mask_of(frame, op)
    if g is None:
        return {}
    return {op.inputs[0]: g if mask is None else mask.passed_back(g)}


RULES = dict.fromkeys(FORWARD, _dropout)
