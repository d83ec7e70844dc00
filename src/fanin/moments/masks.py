"""Masks that are computed from a signal: functions of its entries, so that what they select is integrated with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fanin.errors import ShapeError
from fanin.graph.ir import Op
from fanin.model.operations import COMPARISONS
from fanin.moments.forward.elementwise import elementwise
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.signal import Signal

__all__ = ["as_function"]


def as_function(frame: Frame, op: Op, drawn: Sequence[Signal]) -> Sequence[Signal]:
    """The mask that an op made of one draw, with the values that it is a function of, where they are few.

    Its numbers stay for ops that select by it; a function of the mask and of what it compares is one function.
    """
    if op.name not in COMPARISONS or len(drawn) != 1:
        return drawn
    try:
        made = elementwise(frame, op)
    except (NoRuleError, ShapeError, RuntimeError):
        return drawn
    return [replace(made, numbers=drawn[0].numbers)] if made.region and not made.is_lost else drawn
