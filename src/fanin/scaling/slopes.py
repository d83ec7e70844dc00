"""The slope of log2 size over log2 width, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Slope", "Verdict", "fitted"]

Verdict = Literal["ok", "grows", "shrinks", "still", "partly still", "not finite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How the change of one map's output scales with the width.

    Attributes:
        value: slope of log2 of the size over log2 of the width; 0 is right. NaN where it cannot be fitted.
        error: its standard error over widths and seeds; NaN with fewer than three points.
        verdict: "ok"; "grows" or "shrinks" beyond the tolerance; "still" where nothing moves at any width, which is no
            fault; "partly still" where nothing moves at some widths; "not finite" where a size is not.
    """

    value: float
    error: float
    verdict: Verdict

    @property
    def ok(self) -> bool:
        """Whether it is no fault."""
        return self.verdict in ("ok", "still")


def fitted(changes: Mapping[int, Sequence[float]], tolerance: float) -> Slope:
    """The slope over widths, a point for each seed.

    Args:
        changes: width -> rms change of the output, one number a seed.
        tolerance: |slope| up to tolerance + 2 standard errors is right.

    Example:
        >>> fitted({64: [1.0, 1.0], 128: [2.0, 2.0], 256: [4.0, 4.0]}, 0.25)
        Slope(value=1.0, error=0.0, verdict='grows')
    """
    points = [(width, value) for width, values in changes.items() for value in values]
    sizes = np.array([value for _, value in points])
    if not np.isfinite(sizes).all():
        return Slope(value=math.nan, error=math.nan, verdict="not finite")
    if (sizes == 0.0).all():
        return Slope(value=math.nan, error=math.nan, verdict="still")
    if (sizes == 0.0).any():
        return Slope(value=math.nan, error=math.nan, verdict="partly still")
    x, y = np.log2([float(width) for width, _ in points]), np.log2(sizes)
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    left = y - y.mean() - slope * x
    error = math.sqrt(float((left**2).sum()) / (len(x) - 2) / float((x * x).sum())) if len(x) > 2 else math.nan
    slope, error = round(slope, 12), round(error, 12)
    beyond = abs(slope) > tolerance + 2.0 * (error if math.isfinite(error) else 0.0)
    return Slope(value=slope, error=error, verdict=("grows" if slope > 0 else "shrinks") if beyond else "ok")
