"""Moments and histograms of one tensor, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Histogram", "TensorStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts over equal bins of one axis.

    `log2` histograms count binary exponents of |x|: bin i holds 2^(low + i) <= |x| < 2^(low + i + 1); `under` counts
    exact zeros. `linear` histograms count x in units of the tensor's rms: bin i is [low + i * width, low + (i + 1) *
    width); `under` and `over` count what is outside.
    """

    scale: Literal["log2", "linear"]
    low: float
    width: float
    counts: tuple[int, ...]
    under: int = 0
    over: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStats:
    """Moments and histograms of one tensor, from `sampled` of its `numel` elements (a strided sample).

    `rms` is over all elements, and the `std` of a large tensor follows from it where the mean is small.
    `num_nonfinite` counts NaN and infinities in the sample; the moments are over the finite rest. `any_nonfinite`
    says whether the whole tensor holds any (it is tested on all elements, not on the sample).
    """

    numel: int
    sampled: int
    rms: float
    mean: float
    std: float
    min: float
    max: float
    zero_share: float
    num_nonfinite: int = 0
    any_nonfinite: bool = False
    norm: float | None = None
    exponents: Histogram | None = None
    values: Histogram | None = None
