"""Weights that are used again: one factor for all uses, so that the geometric mean of rms over target is 1.

With k the number of times that a factor has acted on a use, d ln(rms) / d ln(factor) = k where everything between is
positively homogeneous. So the first step divides by the mean of k, and the next ones by the slope that was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fanin.calibration.judge import rounded

__all__ = ["MOST_FORWARDS", "Solving"]

MOST_FORWARDS = 4  # before the one that verifies
_LEAST_SLOPE = 0.25  # of the mean k: a smaller one is noise


@dataclass(slots=True, kw_only=True)
class Solving:
    """The search for one factor.

    Attributes:
        slope: expected d ln(rms) / d ln(factor), the mean of k over the uses.
        factor: what the next pass multiplies by.
        tried: (ln factor, mean of ln(rms / target)) of each pass so far.
    """

    slope: float
    factor: float
    tried: list[tuple[float, float]] = field(default_factory=list)

    def next_factor(self, miss: float, *, bits: int, limit: float) -> float:
        """The factor of the next pass.

        Args:
            miss: mean over the uses of ln(rms / target), with this pass's factor in place.
            bits: significant bits of a factor.
            limit: the largest factor, and one over the smallest.

        Example:
            >>> solving = Solving(slope=3.0, factor=1.0)
            >>> solving.next_factor(3.0 * math.log(2.0), bits=8, limit=100.0)
            0.5
        """
        here = math.log(self.factor)
        slope = self.slope
        if self.tried and abs(here - self.tried[-1][0]) > 1e-9:
            seen = (miss - self.tried[-1][1]) / (here - self.tried[-1][0])
            slope = max(seen, _LEAST_SLOPE * self.slope)
        self.tried.append((here, miss))
        bound = math.log(limit)
        self.factor = rounded(math.exp(min(max(here - miss / slope, -bound), bound)), bits)
        return self.factor
