"""What an elementwise law asks of a stream, as data: every engine draws from this and from nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from fanin.errors import ArgumentError

__all__ = ["Draw", "Kind"]

Kind = Literal["uniform", "normal", "truncated_normal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """value = unit * width + shift, where `unit` comes from the stream.

    ========================  ==========================================  =====================================
    kind                      unit                                        width is
    ========================  ==========================================  =====================================
    uniform                   U(-1, 1), open, symmetric                   half the length of the interval
    normal                    N(0, 1)                                     the standard deviation
    truncated_normal          N(0, 1) cut to (lower, upper)               the std of the *parent* normal
    ========================  ==========================================  =====================================

    Both operations round to the drawing precision separately (no fused multiply-add).

    Attributes:
        kind: which law the unit numbers follow.
        width: finite, >= 0.
        shift: finite.
        lower: window of a truncated normal, in parent standard deviations; -inf is allowed.
        upper: likewise; lower < upper.
    """

    kind: Kind
    width: float = 1.0
    shift: float = 0.0
    lower: float = -math.inf
    upper: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ArgumentError(f"kind is one of {', '.join(map(repr, get_args(Kind)))}; got {self.kind!r}")
        numbers = (self.width, self.shift, self.lower, self.upper)
        if any(isinstance(n, bool) or not isinstance(n, Real) for n in numbers):
            raise ArgumentError(f"width, shift, lower and upper are numbers; got {numbers!r}")
        if not (math.isfinite(self.width) and self.width >= 0.0 and math.isfinite(self.shift)):
            raise ArgumentError(
                f"width must be finite and >= 0, shift finite; got width={self.width!r}, shift={self.shift!r}"
            )
        if self.kind == "truncated_normal" and not self.lower < self.upper:
            raise ArgumentError(
                f"a truncation window needs lower < upper; got [{self.lower!r}, {self.upper!r}] standard deviations"
            )
