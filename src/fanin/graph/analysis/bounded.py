"""Walks through a graph that end after a named number of values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

__all__ = ["FAR", "NEAR", "reach"]

NEAR = 12  # values: from a parameter to the norm, map or activation that made what it is added to
FAR = 400  # values: along a residual stream


def reach(
    start: int, step: Callable[[int], Iterable[int]], *, limit: int = NEAR, levels: int | None = None
) -> Iterator[int]:
    """A value and those that steps lead to from it, each once, the nearest first.

    A step is made only once the value was handed out, so the caller may end the walk there.

    Args:
        start: the first value.
        step: gives the values next to one.
        limit: at most so many values are given.
        levels: at most so many steps from the start; any number if None.

    Example:
        >>> list(reach(1, lambda v: [2 * v, 2 * v + 1], limit=5))
        [1, 2, 3, 4, 5]
        >>> list(reach(1, lambda v: [2 * v, 2 * v + 1], levels=1))
        [1, 2, 3]
    """
    todo, seen = deque([(start, 0)]), {start}
    for left in range(limit, 0, -1):
        if not todo:
            return
        value, level = todo.popleft()
        yield value
        if level == levels or left == 1:
            continue
        for following in step(value):
            if following not in seen:
                seen.add(following)
                todo.append((following, level + 1))
