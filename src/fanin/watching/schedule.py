"""Which steps are measured."""

from __future__ import annotations

__all__ = ["measured_steps"]


def measured_steps(last: int) -> frozenset[int]:
    """Every step up to 10, every 5th up to 50, every 10th after that; the last step is `last`.

    Example:
        >>> sorted(measured_steps(22))
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 22]
    """
    return frozenset(n for n in range(1, last + 1) if n <= 10 or (n <= 50 and n % 5 == 0) or n % 10 == 0 or n == last)
