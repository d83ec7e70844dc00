"""Floyd's selection and the scatter of the chosen numbers, compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

__all__ = ["place", "place_across"]


@njit(inline="always")
def _choose(chosen: Any, taken: Any, draws: Any, inputs: Any, kept: Any) -> None:
    """Floyd's choice of one unit; `taken` is all zeros before and after."""
    for t in range(kept):
        chosen[t] = (uint64(draws[t]) * uint64(inputs - kept + t + 1)) >> uint64(32)
    for t in range(kept):
        r = chosen[t]
        r += (uint64(inputs - kept + t) - r) * uint64(taken[r])  # j where r was taken, without a branch
        taken[r] = np.uint8(1)
        chosen[t] = r
    for t in range(kept):
        taken[chosen[t]] = np.uint8(0)


@njit(cache=True, nogil=True)
def place(out: Any, values: Any, words: Any, clear: Any) -> None:
    """Put ``values[u, t]`` into the place of unit u that ``words[u, t]`` chooses; `clear`: and zeros elsewhere."""
    units, kept = words.shape
    inputs = out.shape[1]
    # Unsigned places: numba would test signed ones for being negative at each access.
    taken, chosen = np.zeros(inputs, np.uint8), np.empty(kept, np.uint64)
    for u in range(units):
        row, numbers = out[u], values[u]
        if clear:
            row[:] = 0
        _choose(chosen, taken, words[u], inputs, kept)
        for t in range(kept):
            row[chosen[t]] = numbers[t]


@njit(cache=True, nogil=True)
def place_across(out: Any, begin: Any, values: Any, words: Any, width: Any) -> None:
    """Likewise, zeros elsewhere, for a contiguous `out` of shape (inputs, units), from unit `begin` on.

    `width` units at a time are laid out in a tile that stays in the cache, so that memory is written by several lines
    in a row: of a line alone, the wait for it costs more than all the rest.
    """
    units, kept = words.shape
    inputs, pitch = out.shape
    taken, chosen = np.zeros(inputs, np.uint8), np.empty(kept, np.uint64)
    tile, flat = np.zeros(inputs * width, out.dtype), out.reshape(-1)
    for first in range(0, units, width):
        count = min(width, units - first)
        for j in range(count):
            numbers = values[first + j]
            _choose(chosen, taken, words[first + j], inputs, kept)
            for t in range(kept):
                tile[chosen[t] * uint64(width) + uint64(j)] = numbers[t]
        for r in range(inputs):
            here, there = uint64(r * width), uint64(r * pitch + begin + first)
            for j in range(uint64(count)):
                flat[there + j] = tile[here + j]
        tile[:] = 0
