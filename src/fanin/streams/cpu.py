"""Filling memory of this machine: by the compiled kernels, or by NumPy where they cannot be had, with the same bits."""

from __future__ import annotations

import functools
import math
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import FaninWarning
from fanin.memory import processes_here
from fanin.streams import reference64
from fanin.streams.boxes import Box
from fanin.streams.drawing import draw_at
from fanin.streams.dtypes import memory_dtype
from fanin.streams.geometry import Walk
from fanin.streams.keys import Key
from fanin.streams.law import Law
from fanin.streams.reference import words_at

__all__ = ["Progress", "cpu_engine", "default_threads", "fill_memory", "fill_words"]

RANGE = 1 << 20
"""Elements of one task at most. A task is the unit of progress, of interruption, and of sharing between threads."""

_SMALLEST_RANGE = 1 << 17
_PYTHON_CHUNK = 1 << 15
_WORTH_LOADING = 1 << 17
_LONG = 10_000_000
"""Elements from which NumPy alone takes a second or more."""
_WORTH_STREAMING = 1 << 22  # fewer numbers may stay in the caches for whoever reads them next
_TINY_WIDTH = 2.0**-95  # below, the kernels' width * 2**-31 would not be exact

Progress = Callable[[int], None]
"""Called with the number of elements written so far; what it raises stops the fill."""


@functools.cache
def _kernels() -> tuple[Any, str]:
    """The module of compiled kernels, or None and the reason; no reason where numba is not installed."""
    try:
        from numba import config
    except ModuleNotFoundError as error:
        return None, "" if error.name == "numba" else f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever its imports raise
        return None, f"{type(error).__name__}: {error}"
    try:
        if config.DISABLE_JIT:  # debuggers and coverage runs set it
            return None, "NUMBA_DISABLE_JIT is set"
        from fanin.streams import numba_kernels
    except Exception as error:  # numba raises RuntimeError for a cache without a place, and whatever its imports raise
        return None, f"{type(error).__name__}: {error}"
    return numba_kernels, ""


@functools.cache
def kernel_for(part: str) -> Any:
    """The compiled fill for memory of the real dtype `part`, or None where it cannot be had.

    One warning says why numba, which is installed, cannot be used. That it is not installed is a choice, and only slow
    where much is drawn: `_say_it_takes_long`.
    """
    kernels, reason = _kernels()
    if kernels is None and not reason:
        return None
    if kernels is not None:
        try:
            memory = memory_dtype(part).name
            if sys.stderr.isatty() and not kernels.is_kept(memory):
                print("fanin compiles its kernels, once on this machine: about ten seconds ...", file=sys.stderr)
            return kernels.ready(memory)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
    warnings.warn(
        f"weights are drawn by NumPy, with the same bits but about ten times slower, because numba cannot be used "
        f"({reason}). Mend numba, or let NUMBA_CACHE_DIR name a folder that can be written.",
        FaninWarning,
        stacklevel=3,
    )
    return None


@functools.cache
def _say_it_takes_long() -> None:
    """Warn once that numba, which is not installed, would draw so many numbers faster."""
    warnings.warn(
        f"more than {_LONG // 1_000_000} million numbers are drawn by NumPy. numba, which is not installed, draws the "
        f"same bits about ten times as fast: pip install 'fanin[fast]'",
        FaninWarning,
        stacklevel=4,
    )


def cpu_engine() -> str:
    """Which engine fills this machine's memory: "numba", or "numpy" where numba cannot be imported or keep its results.

    Example:
        >>> cpu_engine()
        'numba'
    """
    return "numpy" if kernel_for("float32") is None else "numba"


def fill_words(memory: npt.NDArray[np.uint32], key: Key, box: Box) -> None:
    """Write the 32-bit words of `box` into a flat array, one after the other."""
    walk = Walk.of(box)
    if _is_worth_it(box.size) and (fill := kernel_for("uint32")) is not None:
        no_law = (_stream(key), _stream(key), 0, 0, np.zeros(4, np.float32), np.zeros(4), np.zeros(2, np.uint64), 0)
        _run(lambda first, last: fill(memory, first, last, _places(walk, 0), no_law), _ranges(box.size, 1), 1, None)
        return
    for first in range(0, box.size, _PYTHON_CHUNK):
        last = min(first + _PYTHON_CHUNK, box.size)
        memory[first:last] = words_at(key, box.indices(first, last))


def fill_memory(
    memory: npt.NDArray[Any],
    law: Law,
    key: Key,
    box: Box,
    *,
    steps: tuple[int, ...] | None = None,
    offset: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the numbers of `box` into a flat array.

    Args:
        memory: one-dimensional and contiguous, of the law's real dtype (bfloat16 and float16 as uint16).
        law: what to draw.
        key: the stream.
        box: which elements of the global tensor.
        steps: where they go: step of each box axis in `memory`; contiguous where not given.
        offset: of the first element in `memory`.
        threads: at most so many; as many as there are cores, up to 4, where not given. The bits do not depend on it.
        progress: told the number of elements written, now and then.
    """
    walk = Walk.of(box, steps)
    compiled = _wants_compiled(law, box.size) and kernel_for(law.dtype.part) is not None
    if not compiled and box.size >= _LONG and _kernels() == (None, ""):
        _say_it_takes_long()
    task = (_compiled if compiled else _interpreted)(memory[offset:], law, key, walk)
    threads = min(threads or default_threads(), max(1, box.size // RANGE))  # less is done before a thread has started
    _run(task, _ranges(box.size, threads), threads, progress)


def _wants_compiled(law: Law, size: int) -> bool:
    """Whether the kernels can give the law's bits, and are worth it."""
    exact = law.double or law.width == 0.0 or law.width >= _TINY_WIDTH
    return exact and _is_worth_it(size)


def _is_worth_it(size: int) -> bool:
    """Whether loading the kernels (half a second) pays, or is done already."""
    return size >= _WORTH_LOADING or "fanin.streams.numba_kernels" in sys.modules


def default_threads() -> int:
    """Cores that this process may use, at most 4: beyond, memory is the limit.

    Where a launcher (torchrun) runs several processes on this machine, LOCAL_WORLD_SIZE says how many share the cores.

    Example:
        >>> 1 <= default_threads() <= 4
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // processes_here(), 4))


Task = Callable[[int, int], None]


def _ranges(size: int, threads: int) -> list[tuple[int, int]]:
    """Tasks: large enough that starting one costs nothing, and several for each thread where there is work for it."""
    pieces = max(1, -(-size // (4 * threads * _SMALLEST_RANGE)))
    step = min(RANGE, pieces * _SMALLEST_RANGE)  # a multiple of what the kernels work on at a time
    return [(first, min(first + step, size)) for first in range(0, size, step)]


def _run(task: Task, ranges: list[tuple[int, int]], threads: int, progress: Progress | None) -> None:
    """Every range once, on so many threads; an exception, say an interrupt, leaves the rest undone.

    The calling thread works too: a thread that only waits for the others wakes at each task's end, and takes a core
    away from them to do so.
    """
    waiting, written = deque(ranges), deque[int]()

    def work(after: Callable[[], None]) -> None:
        try:
            while waiting:
                try:
                    first, last = waiting.popleft()
                except IndexError:  # another thread took the last one in between
                    return
                task(first, last)
                written.append(last - first)
                after()
        except BaseException:
            waiting.clear()  # the other threads end with the range they are at
            raise

    total = 0

    def report() -> None:
        nonlocal total
        if progress is not None:
            while written:
                total += written.popleft()
            progress(total)

    helpers = min(threads, len(ranges)) - 1
    if helpers < 1:
        work(report)
        return
    with ThreadPoolExecutor(helpers) as pool:
        futures = [pool.submit(work, lambda: None) for _ in range(helpers)]
        work(report)
        for future in futures:
            future.result()
    report()


def _interpreted(memory: npt.NDArray[Any], law: Law, key: Key, walk: Walk) -> Task:
    """Draw with the reference, in pieces that bound its temporaries."""
    source, target = Box(walk.shape, walk.strides, walk.start), Box(walk.shape, walk.steps)

    def task(first: int, last: int) -> None:
        for a in range(first, last, _PYTHON_CHUNK):
            b = min(a + _PYTHON_CHUNK, last)
            memory[target.indices(a, b)] = draw_at(law, key, source.indices(a, b)).view(memory.dtype)

    return task


def _stream(key: Key) -> npt.NDArray[np.uint64]:
    return np.array([key.key64, key.c2, key.c3], np.uint64)


def _places(walk: Walk, way: int) -> tuple[Any, ...]:
    """A walk, and the way that numbers get to their places, as the kernels take them."""
    axes = (np.array(x, np.int64) for x in (walk.shape, walk.strides, walk.steps))
    return (*axes, np.uint64(walk.start), walk.run, way)


def _way(law: Law, walk: Walk, memory: npt.NDArray[Any]) -> int:
    """How numbers get to their places: past the caches where memory, not drawing, is what takes the time.

    Two threads draw uniform float32 numbers 1.6 times as fast as one by plain stores, for each of which a core fetches
    the line first, and 1.85 times as fast past the caches. Float64 and normal float32 gain nothing.
    """
    kernels, _ = _kernels()
    if not walk.dense:
        return int(kernels.SCATTERED)
    heavy = not law.double and (law.kind == "uniform" or law.dtype.part != "float32")
    worth = heavy and math.prod(walk.shape) >= _WORTH_STREAMING and memory.flags.aligned
    return int(kernels.STREAMED if worth else kernels.DENSE)


def _compiled(memory: npt.NDArray[Any], law: Law, key: Key, walk: Walk) -> Task:
    """Draw with the compiled kernels."""
    places = _places(walk, _way(law, walk, memory))
    low = _stream(key.for_purpose(reference64.LOW_PURPOSE)) if law.double else _stream(key)
    carried = 1.0 if law.kind == "uniform" else 2.0**31  # the kernels' normal numbers carry this factor
    narrow = [law.lower * carried, law.upper * carried, law.width / carried, law.shift] if not law.double else [0.0] * 4
    arguments: tuple[Any, ...] = (
        *(_stream(key), low, int(law.kind == "uniform"), int(law.double)),
        np.array(narrow, np.float32),
        np.array([law.lower, law.upper, law.width, law.shift], np.float64),
        np.array(law.window or (0, 0), np.uint64),
        int(law.dtype.part == "bfloat16"),
    )
    fill = kernel_for(law.dtype.part)

    def task(first: int, last: int) -> None:
        fill(memory, first, last, places, arguments)

    return task
