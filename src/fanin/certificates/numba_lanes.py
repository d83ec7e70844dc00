"""The sums of `lanes`, compiled by numba: each word is read once, and both lanes are added in vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uint32, uint64

__all__ = ["lanes"]


@njit(inline="always")
def _murmur(x: Any) -> Any:
    x = uint32(x ^ (x >> uint32(16))) * uint32(0x85EBCA6B)
    x = uint32(uint32(x) ^ (uint32(x) >> uint32(13))) * uint32(0xC2B2AE35)
    return uint32(uint32(x) ^ (uint32(x) >> uint32(16)))


@njit(inline="always")
def _lowbias(x: Any) -> Any:
    x = uint32(x ^ (x >> uint32(16))) * uint32(0x7FEB352D)
    x = uint32(uint32(x) ^ (uint32(x) >> uint32(15))) * uint32(0x846CA68B)
    return uint32(uint32(x) ^ (uint32(x) >> uint32(16)))


@njit(cache=True, nogil=True)
def _run(words: Any, first: Any, count: Any, low: Any, high: Any, k2: Any, k3: Any) -> Any:
    """The lanes of consecutive words whose indices agree above their lowest 32 bits."""
    one, two = uint64(0), uint64(0)
    for i in range(uint64(count)):
        x = _murmur(uint32(uint32(low) + uint32(i)) ^ high)
        y = _lowbias(uint32(uint32(x ^ k2) + k3))
        word = uint64(words[uint64(first) + i]) + uint64(1)
        one += uint64(x | uint32(1)) * word
        two += uint64(y | uint32(1)) * word
    return one, two


@njit(cache=True, nogil=True)
def lanes(words: Any, starts: Any, length: Any, key: Any) -> Any:
    """As `fanin.certificates.lanes.lanes_of_words`."""
    k0, k1, k2, k3 = uint32(key[0]), uint32(key[1]), uint32(key[2]), uint32(key[3])
    one, two = uint64(0), uint64(0)
    for row in range(starts.size):
        index, place, left = starts[row], row * length, length
        while left > 0:
            low = index & np.int64(0xFFFFFFFF)
            count = min(left, np.int64(0x100000000) - low)
            high = _murmur(uint32(index >> np.int64(32)) ^ k1) ^ k0
            a, b = _run(words, place, count, low, high, k2, k3)
            one, two = one + a, two + b
            index, place, left = index + count, place + count, left - count
    return one, two
