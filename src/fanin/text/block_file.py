"""A large file whose blocks are made in several threads: while one is on its way to the disk, others are made.

A block is filled in the memory from which it is written. Where the system can, its whole pages go to the disk without
a copy in the memory that the system keeps files in: that is faster, and a file of a hundred gigabytes drives nothing
else out of that memory.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from fanin.text.files import PathLike

__all__ = ["BLOCK", "MOST_AHEAD", "write_blocks"]

Fill = Callable[[int, memoryview], None]  # place of the first byte in the file, memory to fill

BLOCK = 8 << 20  # bytes
_MOST_THREADS = 5
_WRITING, _WAITING = 1, 2  # blocks that are on their way to the disk, and that wait for an earlier one to arrive
MOST_AHEAD = (
    _MOST_THREADS + _WRITING + _WAITING
) * BLOCK  # of a file of n bytes the first n - MOST_AHEAD are written, also after a kill
_PAGE = 1 << 12  # where a write past the system's memory may begin and end, in the file and in memory
_FLUSH = 64 << 20  # bytes after which a disk gets to work on what went through the system's memory
_NOT_SO = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})  # this file system writes no pages directly


def write_blocks(
    path: PathLike, size: int, fill: Fill, *, start: int = 0, threads: int = 1, direct: bool = True
) -> Iterator[int]:
    """Write a file that exists or is made, block by block; yields the bytes of each block, in order.

    A block is begun when all but the last few before it are in the file (`MOST_AHEAD`). When the iterator ends, the
    file has its size and all of it is on the disk. An error of `fill` or of the disk is raised in the block's turn.

    Args:
        path: of the file.
        size: of the file, in bytes.
        fill: makes the bytes of a place; called in several threads at once.
        start: blocks that end before this byte are in the file already.
        threads: that make blocks at the same time, up to 5; one more writes.
        direct: whether to try to write whole pages past the system's memory.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> place = Path(tempfile.mkdtemp()) / "x"
        >>> def zeros(at, memory):
        ...     memory[:] = bytes(len(memory))
        >>> list(write_blocks(place, 9 << 20, zeros)), place.stat().st_size
        ([8388608, 1048576], 9437184)
    """
    workers = max(1, min(threads, _MOST_THREADS)) + _WRITING
    with _File(path, direct) as file, ThreadPoolExecutor(workers) as pool:
        memories = [mmap.mmap(-1, BLOCK) for _ in range(workers + _WAITING)]
        under_way: deque[Future[int]] = deque()

        def made(memory: mmap.mmap, at: int) -> int:
            block = memoryview(memory)[: min(BLOCK, size - at)]
            fill(at, block)
            file.put(at, block)
            return len(block)

        try:
            for turn, at in enumerate(range(start // BLOCK * BLOCK, size, BLOCK)):
                if len(under_way) == len(memories):
                    yield under_way.popleft().result()
                under_way.append(pool.submit(made, memories[turn % len(memories)], at))
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
        file.finish(size)


class _File:
    """A file in which several threads write at places of their own."""

    def __init__(self, path: PathLike, direct: bool) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = io.FileIO(os.open(path, flags, 0o666), "r+")
        self._direct = _opened_direct(path) if direct else None
        self._takes_pages, self._unsynced = self._direct is not None, 0

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._file, self._direct):
            if file is not None:
                file.close()

    def put(self, at: int, data: memoryview) -> None:
        """Write a block that begins at a page."""
        pages = len(data) // _PAGE * _PAGE
        if not self._put_directly(at, data[:pages]):
            pages = 0
        if rest := len(data) - pages:
            _written(self._file, data[pages:], at + pages)
            self._send_on(rest)

    def finish(self, size: int) -> None:
        """Give the file its size, and return when all of it is on the disk."""
        self._file.truncate(size)
        os.fsync(self._file.fileno())

    def _put_directly(self, at: int, data: memoryview) -> bool:
        """Whether the file system took these whole pages."""
        if self._direct is None or not self._takes_pages:
            return False
        try:
            _written(self._direct, data, at)
        except OSError as error:
            if error.errno not in _NOT_SO:
                raise
            self._takes_pages = False
        return self._takes_pages

    def _send_on(self, count: int) -> None:
        """Let the disk get to work on what went through the system's memory, now and then."""
        self._unsynced += count  # another thread may write over it: then the disk begins a little later
        if self._unsynced >= _FLUSH:
            self._unsynced = 0
            os.fsync(self._file.fileno())


_SEEKING = threading.Lock()  # a system without `pwrite` has one place in a file for all threads


def _written(file: io.FileIO, data: memoryview, at: int) -> None:
    """Write all of it, in as many calls as the system needs."""
    while data:
        done = _write_at(file, data, at)
        data, at = data[done:], at + done


def _write_at(file: io.FileIO, data: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(file.fileno(), data, at)
    with _SEEKING:
        file.seek(at)
        return file.write(data) or 0


def _opened_direct(path: PathLike) -> io.FileIO | None:
    """The file opened for writes of whole pages past the system's memory; None where the system has no such writes."""
    flag: int = getattr(os, "O_DIRECT", 0)
    if not flag:
        return None
    try:
        return io.FileIO(os.open(path, os.O_WRONLY | flag), "w")
    except OSError:
        return None
