"""The definition of the streams, in NumPy: every other engine must give the same bits.

Element i of a parameter (row-major index in the whole, unsharded tensor) is made from word ``i & 3`` of the
Philox4x32-10 block ``i >> 2`` under the parameter's key, and from nothing else.

Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x32-10).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanin.streams.keys import Key

__all__ = ["normal", "philox4x32", "uniform", "words", "words_at"]

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]

_ROUNDS = 10
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)


def _float32s(hexadecimal: str) -> tuple[np.float32, ...]:
    return tuple(np.float32(float.fromhex(h)) for h in hexadecimal.split())


# Rational approximation of the inverse normal distribution function, fitted for these streams. Constant term first.
LOG2_COEFFICIENTS = _float32s(
    "0x1.7154c4p+0 -0x1.71582ep-1 0x1.ebff06p-2 -0x1.6f93b2p-2 0x1.30659ep-2 -0x1.173e1cp-2 0x1.5d757cp-3"
)
NUMERATOR = _float32s(
    "0x1.40d932p+0 0x1.3d932ep-2 0x1.6621cep-5 0x1.114172p-8 0x1.1358e2p-12 0x1.3e37a4p-17 0x1.6bb528p-26"
)
DENOMINATOR = _float32s("0x1.000000p+0 0x1.0e44dep-4 0x1.10be48p-6 0x1.937b6cp-11 0x1.e0cdc2p-15 0x1.40c44ap-21")


def philox4x32(counter: tuple[U64, U64, U64, U64], key64: int) -> tuple[U64, U64, U64, U64]:
    """Ten rounds of Philox4x32 on four counter words, each an array of uint64 below 2**32.

    Example:
        >>> zero = np.zeros(1, np.uint64)
        >>> [hex(int(x[0])) for x in philox4x32((zero, zero, zero, zero), 0)]     # known answer of Random123
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key64 & 0xFFFFFFFF, key64 >> 32
    for _ in range(_ROUNDS):
        p0, p1 = x0 * _M0, x2 * _M1
        x0, x1, x2, x3 = (
            (p1 >> _SHIFT32) ^ x1 ^ np.uint64(k0),
            p1 & _LOW32,
            (p0 >> _SHIFT32) ^ x3 ^ np.uint64(k1),
            p0 & _LOW32,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return x0, x1, x2, x3


def _blocks(key: Key, block: U64) -> tuple[U64, U64, U64, U64]:
    ones = np.ones_like(block)
    counter = (block & _LOW32, block >> _SHIFT32, ones * np.uint64(key.c2), ones * np.uint64(key.c3))
    return philox4x32(counter, key.key64)


def words_at(key: Key, index: npt.ArrayLike) -> U32:
    """The 32-bit words of the given elements, in the shape of `index`."""
    i = np.asarray(index).astype(np.uint64)
    lane = (i & np.uint64(3)).astype(np.int64)
    return np.asarray(np.choose(lane, _blocks(key, i >> np.uint64(2))), np.uint32)


def words(key: Key, start: int, count: int) -> U32:
    """The 32-bit words of elements start .. start + count - 1.

    Example:
        >>> from fanin.streams.keys import key
        >>> [f"{w:08x}" for w in words(key(7, "fc1.weight"), 17179881528, 2)]
        ['4ae49233', 'cc292687']
    """
    first, last = start >> 2, (start + count + 3) >> 2
    out = _blocks(key, np.arange(first, last, dtype=np.uint64))
    flat = np.stack(out, axis=1).astype(np.uint32).reshape(-1)
    return flat[start - 4 * first :][:count]


def uniform(word: U32) -> F32:
    """Symmetric uniform numbers in the open interval (-1, 1): 2**24 values, never 0.

    c = (float(int32(x ^ 0x80000000) >> 8) + 0.5) * 2**-23. The sign convention gives the uniform and the normal of one
    word the same rank, so two laws drawn from one key are coupled.
    """
    signed = (word ^ np.uint32(0x80000000)).view(np.int32) >> np.int32(8)
    return np.asarray((signed.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23))


def _horner(coefficients: tuple[np.float32, ...], x: F32) -> F32:
    total = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def normal(word: U32) -> F32:
    """Standard normal numbers by the inverse distribution function: z = Phi^-1((x + 1/2) / 2**32).

    Only IEEE + * / in float32, each rounded separately, and integer operations, so every engine can give the same bits.
    |z| <= 6.337958, and z is never 0.

    Accuracy: 4.2e-7 relative at most, 0.87 ulp rms, against float64.
    """
    signed = word.view(np.int32)
    magnitude = signed ^ (signed >> np.int32(31))
    half = np.float32(0.5)
    a = (magnitude.astype(np.float32) + half) * np.float32(2.0**-31)
    b = ((magnitude ^ np.int32(0x7FFFFFFF)).astype(np.float32) + half) * np.float32(2.0**-31)
    y = a * (b + np.float32(1.0))  # 4 p (1 - p), where p is the smaller tail
    bits = y.view(np.int32)
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    fraction = (bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1.0)
    w = -(exponent.astype(np.float32) + fraction * _horner(LOG2_COEFFICIENTS, fraction))
    z = b * (_horner(NUMERATOR, w) / _horner(DENOMINATOR, w))
    sign = ~word & np.uint32(0x80000000)
    return np.asarray((z.view(np.uint32) | sign).view(np.float32))
