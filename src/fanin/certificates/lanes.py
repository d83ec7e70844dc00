"""Two 64-bit sums over the elements of a tensor, which any way of cutting it leaves the same.

Element i of a tensor, as the unsigned number b of its bits, adds h(i) * (b + 1) to each lane, modulo 2**64. h(i) is an
odd 32-bit number, another one in each lane, made from the element's row-major index in the whole tensor and from the
tensor's key. Sums have no order, so processes add their parts. Elements wider than 32 bits count as several.

One changed element always changes both lanes, since h is odd and the change is below 2**32. Two changes cancel in both
lanes with a probability near 2**-62. It finds accidents; who wants to forge a certificate can.

The hash is a multilinear one (Carter and Wegman, 1979, "Universal classes of hash functions", J. Comput. Syst. Sci. 18,
143-154). Its coefficients come from the 32-bit finaliser of MurmurHash3 (Appleby, public domain) in the first lane, and
from "lowbias32" (Wellons, public domain) on top of it in the second.

The arithmetic is here once, for NumPy and torch: in signed 64-bit numbers, where a product wraps as it should.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LOW", "Lanes", "add", "lane_key", "lanes_at", "lanes_of_words", "word_bytes"]

LOW = 0xFFFFFFFF
_ALL = (1 << 64) - 1
_WORTH_COMPILING = 1 << 17
_CHUNK = 1 << 16  # elements whose temporaries stay in a core's caches

Lanes = tuple[int, int]
"""Two sums, each 0 <= sum < 2**64."""


def add(parts: Sequence[Lanes]) -> Lanes:
    """The lanes of a tensor from those of disjoint parts of it.

    Example:
        >>> add([(1, 2), (2**64 - 1, 5)])
        (0, 7)
    """
    return sum(one for one, _ in parts) & _ALL, sum(two for _, two in parts) & _ALL


def lane_key(name: str, dtype: str, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """Four 32-bit numbers that make the lanes of one tensor its own.

    Example:
        >>> [int(x) for x in lane_key("w", "float32", (2, 3))] != [int(x) for x in lane_key("w", "float32", (3, 2))]
        True
    """
    text = "\0".join((name, dtype, "x".join(map(str, shape))))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"fanin-cert-1").digest()
    return np.frombuffer(digest, "<u4").astype(np.int64)


def word_bytes(itemsize: int) -> int:
    """Bytes of the words that an element of so many bytes is counted in: 1, 2 or 4.

    Example:
        >>> [word_bytes(n) for n in (1, 2, 4, 8, 16)]
        [1, 2, 4, 4, 4]
    """
    return math.gcd(itemsize, 4)


def lanes_at(words: Any, index: Any, key: npt.NDArray[np.int64]) -> Lanes:
    """The lanes of some words at some places; NumPy arrays or torch tensors, on any device.

    Args:
        words: 64-bit signed numbers, each 0 <= word < 2**32.
        index: of each in the whole tensor, 64-bit signed, >= 0.
        key: of `lane_key`.

    Example:
        >>> key = lane_key("w", "float32", (4,))
        >>> words, index = np.array([7, 8, 9, 10]), np.arange(4)
        >>> parts = [lanes_at(words[:1], index[:1], key), lanes_at(words[1:], index[1:], key)]
        >>> add(parts) == lanes_at(words, index, key)
        True
    """
    k0, k1, k2, k3 = (int(k) for k in key)
    x = _murmur(((index & LOW) ^ k0) ^ _murmur(((index >> 32) ^ k1) & LOW))
    y = _lowbias((x ^ k2) + k3 & LOW)
    one, two = (int(((h | 1) * (words + 1)).sum()) & _ALL for h in (x, y))
    return one, two


def _murmur(x: Any) -> Any:
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & LOW
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & LOW
    return x ^ (x >> 16)


def _lowbias(x: Any) -> Any:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & LOW
    x = ((x ^ (x >> 15)) * 0x846CA68B) & LOW
    return x ^ (x >> 16)


def lanes_of_words(
    words: npt.NDArray[Any], starts: npt.NDArray[np.int64], length: int, key: npt.NDArray[np.int64]
) -> Lanes:
    """The lanes of rows of consecutive words; compiled where numba is installed and it pays, with the same sums.

    Args:
        words: flat and contiguous, uint8, uint16 or uint32: the rows, one after the other.
        starts: index of each row's first word in the whole tensor.
        length: words in a row.
        key: of `lane_key`.

    Example:
        >>> key = lane_key("w", "float32", (2, 4))
        >>> left = lanes_of_words(np.array([1, 2, 5, 6], np.uint32), np.array([0, 4]), 2, key)
        >>> right = lanes_of_words(np.array([3, 4, 7, 8], np.uint32), np.array([2, 6]), 2, key)
        >>> add([left, right]) == lanes_of_words(np.arange(1, 9, dtype=np.uint32), np.array([0]), 8, key)
        True
    """
    kernel = _kernel(words.size)
    if kernel is not None:
        one, two = kernel(words, starts, length, key)
        return int(one), int(two)
    parts = []
    for first in range(0, words.size, _CHUNK):
        place = np.arange(first, min(first + _CHUNK, words.size))
        index = starts[place // length] + place % length
        parts.append(lanes_at(words[first : first + _CHUNK].astype(np.int64), index, key))
    return add(parts)


def _kernel(size: int) -> Any:
    """The compiled sum, or None where it cannot be had or is not worth loading."""
    from fanin.streams.cpu import kernel_for

    if size < _WORTH_COMPILING and "fanin.certificates.numba_lanes" not in sys.modules:
        return None
    if kernel_for("uint32") is None:  # numba is missing or cannot be used; it says so itself
        return None
    from fanin.certificates import numba_lanes

    return numba_lanes.lanes
