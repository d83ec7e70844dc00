"""Temporary files of writes that were killed: the next write into the same folder removes them.

Whoever writes a temporary file holds a lock on it until the end, and the system lets go of the lock when the process
dies. So one that is old and not locked belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["hold", "remove_leftovers", "temporary_name"]

_NAME = re.compile(r"\.fanin-[0-9a-f]{16}\.tmp")
_MIN_AGE = 60.0  # seconds since the last byte; a file is made just before it is locked


def temporary_name() -> str:
    """A name for a temporary file that no other file has."""
    return f".fanin-{secrets.token_hex(8)}.tmp"


def hold(handle: int) -> bool:
    """Lock an open file for as long as it is open; False where it is locked already, or where there are no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # by somebody else, or a disk without locks
        return False
    return True


def remove_leftovers(folder: Path, now: float) -> None:
    """Remove temporary files of killed writes: regular files of ours that nobody holds, older than a minute.

    Args:
        folder: where to look; not in folders inside it.
        now: the time of that disk, as its files show it, in seconds.
    """
    with contextlib.suppress(OSError):  # whatever cannot be looked at or removed stays
        for name in [n for n in os.listdir(folder) if _NAME.fullmatch(n)]:  # noqa: PTH208 - names alone cost least
            _remove_if_left(folder / name, now)


def _remove_if_left(place: Path, now: float) -> None:
    with contextlib.suppress(OSError), _opened(place) as handle:
        found = os.fstat(handle)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and now - found.st_mtime > _MIN_AGE and hold(handle):
            place.unlink()


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[int]:
    """The file itself and never what a link leads to; nothing waits for a pipe."""
    handle = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
