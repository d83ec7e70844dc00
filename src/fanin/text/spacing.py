"""Which of many rows to show: evenly spaced positions."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["evenly"]


def evenly(num: int, limit: int, keep: Iterable[int] = ()) -> tuple[int, ...]:
    """At most `limit` of the positions 0 .. num - 1: first and last, those of `keep`, the rest evenly spaced.

    Example:
        >>> evenly(10, 4)
        (0, 3, 6, 9)
        >>> evenly(10, 4, keep=[5])
        (0, 3, 5, 9)
    """
    if num <= limit:
        return tuple(range(num))
    kept = sorted(set(keep))
    wanted = [0, num - 1, *(kept[i] for i in _spread(len(kept), limit - 2)), *_spread(num, limit)]
    return tuple(sorted(list(dict.fromkeys(wanted))[:limit]))


def _spread(num: int, limit: int) -> list[int]:
    if num <= limit:
        return list(range(num))
    return [round(i * (num - 1) / (limit - 1)) for i in range(limit)] if limit > 1 else [0] * max(limit, 0)
