"""The size that a module chose for numbers it drew, told so that two draws of one law give one plan."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["found_size"]

_PER_OCTAVE = 4  # sizes that are told apart


def found_size(numbers: npt.NDArray[np.floating]) -> float:
    """Root mean square, to the nearest of four sizes an octave; 0 where there is none, or it is not finite.

    Example:
        >>> found_size(np.array([0.3, -0.3])), found_size(np.zeros(3))
        (0.29730177875068026, 0.0)
    """
    size = float(np.sqrt(np.square(numbers, dtype=np.float64).mean())) if numbers.size else 0.0
    if not 0.0 < size < math.inf:
        return 0.0
    return float(2.0 ** (round(_PER_OCTAVE * math.log2(size)) / _PER_OCTAVE))
