"""Which steps are measured."""

from __future__ import annotations

__all__ = ["is_measured"]


def is_measured(number: int, last: int) -> bool:
    """Whether a step is measured: every one up to 10, every 5th up to 50, every 10th after that; the last is `last`.

    Example:
        >>> [number for number in range(30) if is_measured(number, 22)]
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 22]
    """
    if not 1 <= number <= last:
        return False
    return number <= 10 or (number <= 50 and number % 5 == 0) or number % 10 == 0 or number == last
