"""A large file that is written in order: the disk works while the bytes are made.

Where the system can, whole pages go to the disk in a thread of their own and without a copy in the memory that the
system keeps files in: that is faster, and a file of a hundred gigabytes drives nothing else out of that memory.
Elsewhere bytes are written at once, and the other thread only sends them on to the disk.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fanin.text.files import PathLike

__all__ = ["OrderedFile"]

_BLOCK = 8 << 20  # bytes that are handed to the writing thread at a time
_BLOCKS = 3  # one is filled, one is written, one waits
_PAGE = 1 << 12  # where a write past the system's memory may begin and end, in the file and in memory
_FLUSH = 64 << 20  # bytes after which a disk gets to work on what went through the system's memory
_NOT_SO = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})  # this file system writes no pages directly


class OrderedFile:
    """A file that exists or is made; bytes that are not written stay as they are.

    Bytes reach the file in the order of the calls, so that after a kill a file of n bytes holds the first n. An error
    of the disk is raised by one of the next calls or by `finish`.

    Args:
        path: of the file.
        direct: whether to try to write whole pages past the system's memory.
    """

    def __init__(self, path: PathLike, *, direct: bool = True) -> None:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = io.FileIO(os.open(path, flags, 0o666), "r+")
        self._direct = _opened_direct(path) if direct else None
        self._thread = ThreadPoolExecutor(1)
        self._blocks = [mmap.mmap(-1, _BLOCK) for _ in range(_BLOCKS)]
        self._under_way: list[Future[None] | None] = [None] * _BLOCKS
        self._block, self._start, self._count, self._unsynced = 0, 0, 0, 0
        self._sync: Future[None] | None = None

    def __enter__(self) -> OrderedFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)
        for file in (self._file, self._direct):
            if file is not None:
                file.close()

    def write(self, at: int, data: Any) -> None:
        """Write bytes at a place that is not before those of earlier calls."""
        rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
        if self._direct is None:
            self._through_memory(at, rest)
            return
        if at != self._start + self._count:
            self._hand_over()
            self._start = at
        while rest:
            begin = self._start % _PAGE + self._count
            now = rest[: _BLOCK - begin]
            memoryview(self._blocks[self._block])[begin : begin + len(now)] = now
            self._count, rest = self._count + len(now), rest[len(now) :]
            if begin + len(now) == _BLOCK:
                self._hand_over()

    def finish(self, size: int) -> None:
        """Give the file its size, and return when all of it is on the disk."""
        self._wait()
        self._file.truncate(size)
        os.fsync(self._file.fileno())

    def _wait(self) -> None:
        """Return when all blocks are in the file."""
        self._hand_over()
        for job in (*self._under_way, self._sync):
            if job is not None:
                job.result()
        self._under_way, self._sync = [None] * _BLOCKS, None

    def _through_memory(self, at: int, data: memoryview) -> None:
        """Write to the memory that the system keeps files in; the other thread sends it on to the disk."""
        if self._count or any(self._under_way):  # what was to go past that memory, before the file system refused it
            self._wait()
        _written(self._file, data, at)
        self._start, self._unsynced = at + len(data), self._unsynced + len(data)
        if self._unsynced >= _FLUSH and (self._sync is None or self._sync.done()):
            if self._sync is not None:
                self._sync.result()
            self._sync, self._unsynced = self._thread.submit(os.fsync, self._file.fileno()), 0

    # ------------------------------------------------------------------ blocks
    def _hand_over(self) -> None:
        """Let the other thread write the block, and go on with one that is written."""
        if not self._count:
            return
        self._under_way[self._block] = self._thread.submit(self._put, self._block, self._start, self._count)
        self._start, self._count = self._start + self._count, 0
        self._block = (self._block + 1) % _BLOCKS
        before = self._under_way[self._block]
        if before is not None:
            before.result()

    def _put(self, block: int, start: int, count: int) -> None:
        """Write a block: its whole pages directly, what is before and after them as usual."""
        begin = start % _PAGE
        data = memoryview(self._blocks[block])[begin : begin + count]
        first = min(-start % _PAGE, count)
        last = max((start + count) // _PAGE * _PAGE - start, first)
        _written(self._file, data[:first], start)
        if not self._put_directly(data[first:last], start + first):
            _written(self._file, data[first:last], start + first)
        _written(self._file, data[last:], start + last)

    def _put_directly(self, data: memoryview, at: int) -> bool:
        """Whether the file system took these whole pages."""
        if self._direct is None:
            return False
        try:
            _written(self._direct, data, at)
        except OSError as error:
            if error.errno not in _NOT_SO:
                raise
            self._direct.close()
            self._direct = None
        return self._direct is not None


def _written(file: io.FileIO, data: memoryview, at: int) -> None:
    """Write all of it, in as many calls as the system needs."""
    while data:
        file.seek(at)
        done = file.write(data)
        data, at = data[done:], at + (done or 0)


def _opened_direct(path: PathLike) -> io.FileIO | None:
    """The file opened for writes of whole pages past the system's memory; None where the system has no such writes."""
    flag: int = getattr(os, "O_DIRECT", 0)
    if not flag:
        return None
    try:
        return io.FileIO(os.open(path, os.O_WRONLY | flag), "w")
    except OSError:
        return None
