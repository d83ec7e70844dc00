"""Sizes of what steps do to weights, relative to the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.watching.sizes import size_now, size_of_start

__all__ = ["Ratios", "Scales"]

_Values = tuple[float | None, ...]
_Norms = Sequence[float]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Sizes relative to the weights, as in `StepRecord`; `lost` is the first name with NaN or infinity.

    Attributes:
        turns: mean cosine of the gradient and those of earlier measured steps from the third on, one a weight.
        decays: what weight decay changes over what the loss changes, one a weight.
        repeated: whether each gradient is as large as that of the step before, to the bit, and the weights have moved.
        restored: whether something put all weights back to where they started.
    """

    updates: _Values = ()
    distances: _Values = ()
    outside: _Values = ()
    turns: _Values = ()
    decays: _Values = ()
    lost: str = ""
    repeated: bool = False
    restored: bool = False

    def __add__(self, other: Ratios) -> Ratios:
        return Ratios(
            self.updates + other.updates,
            self.distances + other.distances,
            self.outside + other.outside,
            self.turns + other.turns,
            self.decays + other.decays,
            self.lost or other.lost,
            self.repeated or other.repeated,
            self.restored or other.restored,
        )


class Scales:
    """What norms over the entries of some weights are compared with.

    Args:
        counts: how many entries each norm is over.
        planned: 1 / sqrt(fan_in) of each weight.
        start: norms of the weights before the first step.
    """

    def __init__(self, counts: Sequence[int], planned: Sequence[float], start: _Norms) -> None:
        self._roots = [math.sqrt(count) if count else math.nan for count in counts]
        self._planned = planned
        sizes = map(size_of_start, self._rms(start), planned)
        self._starts = [root * size for root, size in zip(self._roots, sizes, strict=True)]
        self._largest = [0.0] * len(self._roots)

    def distances(self, moved: _Norms) -> _Values:
        """Changes since the start."""
        return tuple(map(_ratio, moved, self._starts))

    def now(self, weights: _Norms) -> list[float]:
        """The norms of the weights; what they count as, where they are zero."""
        sizes = map(size_now, self._rms(weights), self._planned)
        return [root * size for root, size in zip(self._roots, sizes, strict=True)]

    def updates(self, steps: _Norms, now: _Norms) -> _Values:
        """Changes in a step; the largest so far are remembered."""
        found = tuple(map(_ratio, steps, now))
        self._largest = [max(value or 0.0, most) for value, most in zip(found, self._largest, strict=True)]
        return found

    def between(self, outside: _Norms, now: _Norms, skipped: int | None) -> _Values:
        """Changes between two measured steps, less four times the largest update for each step between them."""
        if skipped is None:
            return (None,) * len(now)
        if not any(outside):
            return (0.0,) * len(now)
        found = zip(map(_ratio, outside, now), self._largest, strict=True)
        return tuple(None if value is None else max(value - 4 * skipped * most, 0.0) for value, most in found)

    def _rms(self, norms: _Norms) -> list[float]:
        return [norm / root for norm, root in zip(norms, self._roots, strict=True)]


def _ratio(norm: float, size: float) -> float | None:
    value = norm / size if 0.0 < size < math.inf else math.nan
    return value if math.isfinite(value) else None
