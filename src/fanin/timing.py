"""The parts of a command: how long each takes (``--stats``), and which one runs now (the line on stderr)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

__all__ = ["following", "measured", "part"]

_SECONDS: ContextVar[dict[str, float] | None] = ContextVar("seconds", default=None)
_FOLLOWER: ContextVar[Callable[[str], None] | None] = ContextVar("follower", default=None)


@contextlib.contextmanager
def following(told: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the name of each part that starts inside.

    Example:
        >>> with following(print), part("plan"):
        ...     pass
        plan
    """
    token = _FOLLOWER.set(told)
    try:
        yield
    finally:
        _FOLLOWER.reset(token)


@contextlib.contextmanager
def measured() -> Iterator[Mapping[str, float]]:
    """Seconds of each part that runs inside, by name, in the order of their first start; a part inside counts alone.

    Example:
        >>> with measured() as seconds:
        ...     with part("outer"), part("inner"):
        ...         pass
        >>> list(seconds)
        ['outer', 'inner']
    """
    seconds: dict[str, float] = {}
    token = _SECONDS.set(seconds)
    try:
        yield seconds
    finally:
        _SECONDS.reset(token)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Count the time of what runs inside to this part, and not to the part around it."""
    if (told := _FOLLOWER.get()) is not None:
        told(name)
    seconds = _SECONDS.get()
    if seconds is None:
        yield
        return
    seconds.setdefault(name, 0.0)
    inside = sum(seconds.values()) - seconds[name]
    started = time.perf_counter()
    try:
        yield
    finally:
        took = time.perf_counter() - started
        others = sum(seconds.values()) - seconds[name] - inside
        seconds[name] += max(took - others, 0.0)
