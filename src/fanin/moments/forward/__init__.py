"""The rules: what each family of operations does to moments. One family a file, one line an operation in its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fanin.graph.ir import Op
from fanin.moments.forward import (
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
from fanin.moments.signal import Signal

__all__ = ["FORWARD", "ForwardRule"]

ForwardRule: TypeAlias = "Callable[[Frame, Op], Signal | Sequence[Signal]]"

_FAMILIES: tuple[Mapping[str, ForwardRule], ...] = (
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

FORWARD: Mapping[str, ForwardRule] = {name: rule for family in _FAMILIES for name, rule in family.items()}

if len(FORWARD) != sum(map(len, _FAMILIES)):
    raise AssertionError("an operation has two rules")
