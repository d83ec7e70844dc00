"""The streams in torch operations, for any device that has int64 and float32 (CUDA, MPS, XLA). Same bits.

Eager operations round one by one, so there is nothing to contract; integers are int64 throughout, where the product
of two 32-bit words wraps to the right 64 bits. Work goes by pieces, so the temporaries stay below 8 MiB however
large the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fanin.streams import reference as ref
from fanin.streams import reference64 as ref64

if TYPE_CHECKING:
    import torch

    from fanin.streams.cpu import Progress
    from fanin.streams.geometry import Walk
    from fanin.streams.keys import Key
    from fanin.streams.law import Law

__all__ = ["draw_at", "fill_flat", "words_at"]

CHUNK = 1 << 15
"""Elements drawn together: about twenty int64 temporaries, 5 MiB."""

_LOW = 0xFFFFFFFF


def _high(product: torch.Tensor) -> torch.Tensor:
    """Upper 32 bits of a 64-bit product that wrapped into int64."""
    return (product >> 32) & _LOW


def words_at(key: Key, index: torch.Tensor) -> torch.Tensor:
    """The 32-bit words of the given elements, as int64 in 0 .. 2**32 - 1."""
    import torch

    block, lane = index >> 2, index & 3
    x0, x1 = block & _LOW, _high(block)
    x2, x3 = torch.full_like(block, key.c2), torch.full_like(block, key.c3)
    k0, k1 = key.key64 & _LOW, key.key64 >> 32
    for _ in range(10):
        p0, p1 = x0 * 0xD2511F53, x2 * 0xCD9E8D57
        x0, x1, x2, x3 = _high(p1) ^ x1 ^ k0, p1 & _LOW, _high(p0) ^ x3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return torch.where(lane < 2, torch.where(lane == 0, x0, x1), torch.where(lane == 2, x2, x3))


def _uniform(word: torch.Tensor) -> torch.Tensor:
    import torch

    return (((word - (1 << 31)) >> 8).to(torch.float32) + 0.5) * 2.0**-23


def _horner(coefficients: Sequence[Any], x: torch.Tensor) -> torch.Tensor:
    import torch

    total = torch.full_like(x, float(coefficients[-1]))
    for c in reversed(coefficients[:-1]):
        total = total * x + float(c)
    return total


def _normal(word: torch.Tensor) -> torch.Tensor:
    import torch

    positive = word >= 1 << 31
    magnitude = torch.where(positive, _LOW - word, word)
    a = (magnitude.to(torch.float32) + 0.5) * 2.0**-31
    b = ((0x7FFFFFFF - magnitude).to(torch.float32) + 0.5) * 2.0**-31
    bits = (a * (b + 1.0)).view(torch.int32)
    exponent = (bits - 0x3F3504F3) >> 23
    fraction = (bits - (exponent << 23)).view(torch.float32) - 1.0
    w = -(exponent.to(torch.float32) + fraction * _horner(ref.LOG2_COEFFICIENTS, fraction))
    z = b * (_horner(ref.NUMERATOR, w) / _horner(ref.DENOMINATOR, w))
    return torch.where(positive, z, -z)


def _uniform64(word: torch.Tensor) -> torch.Tensor:
    import torch

    return (((word ^ (-1 << 63)) >> 11).to(torch.float64) + 0.5) * 2.0**-52


def _log(x: torch.Tensor) -> torch.Tensor:
    import torch

    bits = x.view(torch.int64)
    exponent = (bits - ref64.SQRT_HALF_BITS) >> 52
    f = (bits - (exponent << 52)).view(torch.float64) - 1.0
    k = exponent.to(torch.float64)
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    r = z * _horner(ref64.LOG_ODD, w) + w * _horner(ref64.LOG_EVEN, w)
    half_square = f * f * 0.5
    return k * ref64.LN2_HIGH - ((half_square - (s * (half_square + r) + k * ref64.LN2_LOW)) - f)


def _sqrt(x: torch.Tensor) -> torch.Tensor:
    import torch

    r = ((x.view(torch.int64) >> 1) + ref64.SQRT_GUESS).view(torch.float64)
    for _ in range(4):
        r = (r + x / r) * 0.5
    return r


def _normal64(word: torch.Tensor) -> torch.Tensor:
    import torch

    magnitude = word ^ (word >> 63)
    a = (magnitude.to(torch.float64) + 0.5) * 2.0**-64
    q = ((magnitude ^ 0x7FFFFFFFFFFFFFFF).to(torch.float64) + 0.5) * 2.0**-64
    r = _sqrt(-_log(a))
    near, tail, far = ref64.CENTRE_SQUARED - q * q, r - ref64.TAIL_SHIFT, r - ref64.FAR_SHIFT
    outer = torch.where(
        r <= ref64.FAR_SHIFT,
        _horner(ref64.TAIL[0], tail) / _horner(ref64.TAIL[1], tail),
        _horner(ref64.FAR_TAIL[0], far) / _horner(ref64.FAR_TAIL[1], far),
    )
    inner = q * (_horner(ref64.CENTRE[0], near) / _horner(ref64.CENTRE[1], near))
    z = torch.where(q <= ref64.CENTRE_HALF_WIDTH, inner, outer)
    return torch.where(word < 0, z, -z)


def _multiply_high(x: torch.Tensor, size: int) -> torch.Tensor:
    """floor(x size / 2**64), both unsigned; x is stored as int64."""
    high, low = size >> 32, size & _LOW
    xh, xl = _high(x), x & _LOW
    u = xh * low + _high(xl * low)
    v = xl * high + (u & _LOW)
    return xh * high + _high(u) + _high(v)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


def draw_at(law: Law, key: Key, index: torch.Tensor) -> torch.Tensor:
    """The numbers of the given elements (int64), in the law's real dtype; what `drawing.draw_at` gives in NumPy."""
    import torch

    if law.double:
        word = (words_at(key, index) << 32) | words_at(key.for_purpose(ref64.LOW_PURPOSE), index)
        if law.window is not None and law.kind == "normal":
            word = _signed(law.window.low) + _multiply_high(word, law.window.size)
        unit = _uniform64(word) if law.kind == "uniform" else _normal64(word)
    else:
        word = words_at(key, index)
        if law.window is not None and law.kind == "normal":
            word = law.window.low + _high(word * law.window.size)
        unit = _uniform(word) if law.kind == "uniform" else _normal(word)
    number = torch.clamp(unit, law.lower, law.upper) * law.width + law.shift
    if law.dtype.part == "float64":
        return number
    return number.to(torch.float32).to(getattr(torch, law.dtype.part))


def _indices(shape: tuple[int, ...], strides: tuple[int, ...], start: int, rest: torch.Tensor) -> torch.Tensor:
    """Offsets of the elements with the given row-major positions in a strided box."""
    import torch

    total = torch.full_like(rest, start)
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        total += (rest % size) * stride
        rest = rest // size
    return total


def fill_flat(flat: torch.Tensor, law: Law, key: Key, walk: Walk, progress: Progress | None = None) -> None:
    """Write the numbers of a walk into a one-dimensional tensor on any device, piece by piece.

    Args:
        flat: contiguous, of the law's real dtype; element 0 is where the walk starts.
        law: what to draw.
        key: the stream.
        walk: which elements, and where they go.
        progress: told the number of elements written.
    """
    import torch

    total = math.prod(walk.shape)
    for first in range(0, total, CHUNK):
        place = torch.arange(first, min(first + CHUNK, total), device=flat.device)
        values = draw_at(law, key, _indices(walk.shape, walk.strides, walk.start, place))
        if walk.dense:
            flat[first : first + CHUNK] = values
        else:
            flat[_indices(walk.shape, walk.steps, 0, place)] = values
        if progress is not None:
            progress(min(first + CHUNK, total))
