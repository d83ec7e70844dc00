"""How much of a weight is looked at, and what its changes are compared with."""

from __future__ import annotations

__all__ = ["ENTRIES", "size_now", "size_of_start"]

ENTRIES = 1024
"""Entries of a matrix that are looked at; the relative error of an rms is 1 / sqrt(2 * 1024) = 2.2 %."""

_ZERO = 1e-3  # of 1 / sqrt(fan_in): a matrix whose rms is below it counts as one that starts at zero
_SMALL = 0.25  # of 1 / sqrt(fan_in): starts below it count as that large, since training grows them at any rate


def size_now(rms: float, planned: float) -> float:
    """The rms of a weight; `planned`, which is 1 / sqrt(fan_in), where that is zero.

    Example:
        >>> size_now(0.02, 0.1), size_now(0.0, 0.1)
        (0.02, 0.1)
    """
    return planned if rms <= _ZERO * planned else rms


def size_of_start(rms: float, planned: float) -> float:
    """The same for a start; one that is smaller than a quarter of `planned` counts as this quarter.

    Example:
        >>> size_of_start(0.02, 0.1), size_of_start(0.0, 0.1), size_of_start(0.2, 0.1)
        (0.025, 0.1, 0.2)
    """
    return planned if rms <= _ZERO * planned else max(rms, _SMALL * planned)
