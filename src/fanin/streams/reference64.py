"""The float64 form of the reference: two words an element, for float64 weights and for narrow truncation windows.

The 64-bit word of element i is ``word_i * 2**32 + low_i``: the high half is the very word that the float32 form uses,
the low half comes from the key's "low" stream. So float64 weights are the float32 weights, refined.

Only IEEE + - * / in float64, each rounded separately, and integer operations: the same bits on every engine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanin.streams.keys import Key
from fanin.streams.reference import words_at

__all__ = ["log", "multiply_high", "normal64", "sqrt", "uniform64", "words64_at"]

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

LOW_PURPOSE = "low"

# Wichura 1988, algorithm AS 241 (PPND16): Phi^-1 in three ranges, numerator and denominator, constant term first.
CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
FAR_TAIL = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip
CENTRE_HALF_WIDTH, CENTRE_SQUARED = 0.425, 0.180625
TAIL_SHIFT, FAR_SHIFT = 1.6, 5.0

# Natural logarithm, from Sun's fdlibm (e_log.c, 1993): log(1 + f) = 2 s + s R(s^2), s = f / (2 + f).
LOG_EVEN = (3.999999999940941908e-01, 2.222219843214978396e-01, 1.531383769920937332e-01)
LOG_ODD = (6.666666666666735130e-01, 2.857142874366239149e-01, 1.818357216161805012e-01, 1.479819860511658591e-01)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
SQRT_GUESS = 0x1FF7A00000000000  # half of the exponent bias, less what makes the guess 3 % good

_LOW32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)


def words64_at(key: Key, index: npt.ArrayLike) -> U64:
    """The 64-bit words of the given elements: high half from `key`, low half from its "low" stream."""
    high = words_at(key, index).astype(np.uint64)
    return np.asarray((high << _SHIFT32) | words_at(key.for_purpose(LOW_PURPOSE), index).astype(np.uint64))


def multiply_high(x: U64, size: int) -> U64:
    """floor(x * size / 2**64) for 64-bit x and size < 2**64, from 32-bit halves.

    Example:
        >>> int(multiply_high(np.array([2**63], np.uint64), 10)[0])
        5
    """
    high, low = np.uint64(size >> 32), np.uint64(size & 0xFFFFFFFF)
    xh, xl = x >> _SHIFT32, x & _LOW32
    u = xh * low + ((xl * low) >> _SHIFT32)
    v = xl * high + (u & _LOW32)
    return np.asarray(xh * high + (u >> _SHIFT32) + (v >> _SHIFT32))


def uniform64(word: U64) -> F64:
    """Symmetric uniform numbers in (-1, 1): 2**53 values, never 0."""
    signed = (word ^ np.uint64(1 << 63)).view(np.int64) >> np.int64(11)
    return np.asarray((signed.astype(np.float64) + 0.5) * 2.0**-52)


def horner(coefficients: tuple[float, ...], x: F64) -> F64:
    """c[0] + x (c[1] + x (...))."""
    total = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def log(x: F64) -> F64:
    """Natural logarithm of normal positive numbers from IEEE operations alone.

    Accuracy: below 1 ulp (fdlibm's analysis).

    Example:
        >>> log(np.array([2.0, 0.5]))
        array([ 0.69314718, -0.69314718])
    """
    bits = x.view(np.int64)
    exponent = (bits - np.int64(SQRT_HALF_BITS)) >> np.int64(52)
    f = (bits - (exponent << np.int64(52))).view(np.float64) - 1.0
    k = exponent.astype(np.float64)
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    r = z * horner(LOG_ODD, w) + w * horner(LOG_EVEN, w)
    half_square = f * f * 0.5
    return np.asarray(k * LN2_HIGH - ((half_square - (s * (half_square + r) + k * LN2_LOW)) - f))


def sqrt(x: F64) -> F64:
    """Square root by four of Heron's steps: libraries round theirs differently (torch's is not always the nearest).

    Accuracy: 1 ulp.

    Example:
        >>> float(sqrt(np.array([2.0]))[0])
        1.414213562373095...
    """
    r = ((x.view(np.int64) >> np.int64(1)) + np.int64(SQRT_GUESS)).view(np.float64)
    for _ in range(4):
        r = (r + x / r) * 0.5
    return np.asarray(r)


def normal64(word: U64) -> F64:
    """Standard normal numbers Phi^-1((x + 1/2) / 2**64): |z| <= 9.16, never 0.

    Accuracy: 1e-15 relative against 40-digit arithmetic.

    Source: Wichura 1988, "Algorithm AS 241: the percentage points of the normal distribution", PPND16.
    """
    signed = word.view(np.int64)
    magnitude = signed ^ (signed >> np.int64(63))
    a = (magnitude.astype(np.float64) + 0.5) * 2.0**-64  # the smaller tail
    q = (
        (magnitude ^ np.int64(0x7FFFFFFFFFFFFFFF)).astype(np.float64) + 0.5
    ) * 2.0**-64  # 1/2 - a, without cancellation
    r = sqrt(-log(a))
    near, tail, far = CENTRE_SQUARED - q * q, r - TAIL_SHIFT, r - FAR_SHIFT
    z = np.where(
        q <= CENTRE_HALF_WIDTH,
        q * (horner(CENTRE[0], near) / horner(CENTRE[1], near)),
        np.where(
            r <= FAR_SHIFT,
            horner(TAIL[0], tail) / horner(TAIL[1], tail),
            horner(FAR_TAIL[0], far) / horner(FAR_TAIL[1], far),
        ),
    )
    return np.where(signed < 0, z, -z)
