"""Floyd's selection and the scatter of the chosen numbers, compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint64

__all__ = ["place"]


@njit(cache=True, nogil=True)
def place(out: Any, values: Any, words: Any, clear: Any) -> None:
    """Put ``values[u, t]`` into the place of unit u that ``words[u, t]`` chooses; `clear`: and zeros elsewhere."""
    units, kept = words.shape
    inputs = out.shape[1]
    # Unsigned places: numba would test signed ones for being negative at each access.
    taken, chosen = np.zeros(inputs, np.uint8), np.empty(kept, np.uint64)
    for u in range(units):
        row, numbers, draws = out[u], values[u], words[u]
        if clear:
            row[:] = 0
        for t in range(kept):
            chosen[t] = (uint64(draws[t]) * uint64(inputs - kept + t + 1)) >> uint64(32)
        for t in range(kept):
            r = chosen[t]
            r += (uint64(inputs - kept + t) - r) * uint64(taken[r])  # j where r was taken, without a branch
            taken[r] = np.uint8(1)
            chosen[t] = r
        for t in range(kept):
            row[chosen[t]] = numbers[t]
            taken[chosen[t]] = np.uint8(0)
