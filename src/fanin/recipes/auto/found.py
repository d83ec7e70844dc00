"""What a module chose, by its numbers: the size of those it drew, so that two draws give one plan, and an order."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["all_alike", "found_size", "in_steps"]

_PER_OCTAVE = 4  # sizes that are told apart
_ROUNDING = 1e-4  # of the largest step
_FEWEST = 3  # numbers in steps


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


def in_steps(numbers: npt.NDArray[np.floating] | None) -> bool:
    """Whether numbers go up or down in equal steps along an axis: no law draws such.

    Example:
        >>> in_steps(np.linspace(-2.0, 2.0, 5)), in_steps(np.zeros(5)), in_steps(np.array([0.3, -1.2, 0.4]))
        (True, False, False)
    """
    if numbers is None:
        return False
    return any(_are_even(np.diff(numbers, axis=a), a) for a, size in enumerate(numbers.shape) if size >= _FEWEST)


def all_alike(numbers: npt.NDArray[np.floating] | None) -> bool:
    """Whether numbers are the same all along an axis; one number is.

    Example:
        >>> all_alike(np.array([[0.3, -1.2], [0.3, -1.2]])), all_alike(np.array([0.3, -1.2]))
        (True, False)
    """
    if numbers is None or not numbers.size:
        return False
    return numbers.size == 1 or any(
        size > 1 and _largest(np.diff(numbers, axis=a)) == 0.0 for a, size in enumerate(numbers.shape)
    )


def _largest(numbers: npt.NDArray[np.floating]) -> float:
    return float(np.abs(numbers).max()) if numbers.size else 0.0


def _are_even(steps: npt.NDArray[np.floating], axis: int) -> bool:
    return _largest(steps) > 0.0 and _largest(np.diff(steps, axis=axis)) <= _ROUNDING * _largest(steps)
