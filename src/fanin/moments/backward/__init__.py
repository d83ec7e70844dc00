"""The backward rules: what each family of operations does to the moments of a gradient.

A gradient is taken as independent of the forward signal (the usual assumption of mean field theory), so its kernel
passes through an op as the kernel of any other tensor would. A rule returns what each operand receives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fanin.graph.ir import Op
from fanin.moments.backward import (
    arithmetic,
    attention,
    contractions,
    convolution,
    dropout,
    gathers,
    lookups,
    maxima,
    norms,
    pooling,
    reductions,
    views,
)
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["BACKWARD", "BackwardRule"]

BackwardRule: TypeAlias = "Callable[[Frame, Op, Sequence[JointMoments | None]], Mapping[int, JointMoments]]"

_FAMILIES: tuple[Mapping[str, BackwardRule], ...] = (
    arithmetic.RULES,
    attention.RULES,
    contractions.RULES,
    convolution.RULES,
    dropout.RULES,
    gathers.RULES,
    lookups.RULES,
    maxima.RULES,
    norms.RULES,
    pooling.RULES,
    reductions.RULES,
    views.RULES,
)

BACKWARD: Mapping[str, BackwardRule] = {name: rule for family in _FAMILIES for name, rule in family.items()}

if len(BACKWARD) != sum(map(len, _FAMILIES)):
    raise AssertionError("an operation has two backward rules")
