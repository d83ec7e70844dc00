"""The streams in JAX, under ``jit`` and sharded, with the bits of the reference.

XLA contracts a product and a sum into one fused operation wherever it meets them, which rounds once instead of twice
and changes a tenth of all normal numbers. Neither ``reduce_precision`` nor ``optimization_barrier`` stops it. An
integer operation in between does, if the compiler cannot see through it: each product is xored with x (x + 1) & 1,
which is 0 for every word x.

Indices come from one iota per axis, so each device makes its own shard without communication. Without
``jax_enable_x64`` there are no 64-bit integers, so indices are kept as pairs of uint32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import MissingDependencyError
from fanin.streams import reference as ref
from fanin.streams import reference64 as ref64
from fanin.streams.boxes import strides_of
from fanin.streams.keys import Key
from fanin.streams.law import Law

if TYPE_CHECKING:
    import jax

__all__ = ["draw", "key_words", "needs_x64"]

_ALIGNED = 512
"""Last axes divisible by this are drawn block by block, four numbers at a time: shards then hold whole blocks."""

Multiply = Callable[["jax.Array", Any], "jax.Array"]


def key_words(key: Key) -> tuple[int, int, int, int]:
    """A key as the four uint32 that Philox takes: k0, k1, c2, c3."""
    return key.key64 & 0xFFFFFFFF, key.key64 >> 32, key.c2, key.c3


def needs_x64(law: Law) -> bool:
    """Whether the law needs float64 arithmetic that this process has not switched on."""
    return law.double and not _x64()


def _x64() -> bool:
    import jax

    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def draw(law: Law, words: Sequence[Any], low_words: Sequence[Any] | None, shape: Sequence[int]) -> jax.Array:
    """The numbers of a whole tensor, traceable.

    Args:
        law: what to draw, of a real dtype.
        words: the stream as four uint32, numbers or traced values (`key_words`).
        low_words: likewise its "low" stream, for laws in float64.
        shape: of the tensor.

    Returns:
        An array of the law's dtype.

    Raises:
        MissingDependencyError: the law needs float64, and x64 is off.
    """
    import jax.numpy as jnp

    if needs_x64(law):
        raise MissingDependencyError(
            f"a law in {law.dtype.name} with the window {law.window} is drawn in float64, and JAX has its 64-bit "
            "types switched off. Set jax.config.update('jax_enable_x64', True), or take law.sample(...) and hand the "
            "array over."
        )
    sizes = tuple(int(n) for n in shape) or (1,)
    word = _words(words, sizes)
    if law.double and low_words is not None:
        number = _number64(law, word, _words(low_words, sizes))
    else:
        number = _number32(law, word)
    if law.dtype.part != "float64":
        number = number.astype(jnp.float32)
    return number.astype(law.dtype.part).reshape(tuple(shape))


# ---------------------------------------------------------------------------------------------------- words
def _words(words: Sequence[Any], shape: tuple[int, ...]) -> jax.Array:
    """The uint32 words of all elements."""
    import jax.numpy as jnp

    k0, k1, c2, c3 = (jnp.asarray(w, jnp.uint32) for w in words)
    if shape[-1] % _ALIGNED == 0:
        block = _index((*shape[:-1], shape[-1] // 4))
        return jnp.stack(_philox(block, k0, k1, c2, c3), axis=-1).reshape(shape)
    high, low = _index(shape)
    four = _philox((high >> 2, (low >> 2) | (high << 30)), k0, k1, c2, c3)
    lane = low & 3
    return jnp.where(lane < 2, jnp.where(lane == 0, four[0], four[1]), jnp.where(lane == 2, four[2], four[3]))


def _index(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Row-major index of every element as (high, low) halves."""
    import jax.numpy as jnp
    from jax import lax

    high, low = jnp.zeros(shape, jnp.uint32), jnp.zeros(shape, jnp.uint32)
    for axis, stride in enumerate(strides_of(shape)):
        here = lax.broadcasted_iota(jnp.uint32, shape, axis)
        step = jnp.uint32(stride & 0xFFFFFFFF)
        total = low + here * step
        if math.prod(shape) > 1 << 32:
            carry = (total < low).astype(jnp.uint32)
            high = high + _multiply_high(here, step) + here * jnp.uint32(stride >> 32) + carry
        low = total
    return high, low


def _multiply_high(a: jax.Array, b: jax.Array) -> jax.Array:
    """Upper 32 bits of a product of uint32."""
    import jax.numpy as jnp

    if _x64():
        return ((a.astype(jnp.uint64) * b.astype(jnp.uint64)) >> 32).astype(jnp.uint32)
    return _multiply_high_by_halves(a, b)


def _multiply_high_by_halves(a: jax.Array, b: jax.Array) -> jax.Array:
    """Likewise, from 16-bit halves: ``lax.mulhi`` is no faster, and cannot be sharded (jax 0.10)."""
    ah, al, bh, bl = a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF
    middle = ah * bl + ((al * bl) >> 16)
    other = al * bh + (middle & 0xFFFF)
    return ah * bh + (middle >> 16) + (other >> 16)


def _philox(block: tuple[jax.Array, jax.Array], k0: Any, k1: Any, c2: Any, c3: Any) -> tuple[jax.Array, ...]:
    import jax.numpy as jnp

    m0, m1, w0, w1 = (jnp.uint32(c) for c in (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85))
    x1, x0 = block
    x2, x3 = jnp.broadcast_to(c2, x0.shape), jnp.broadcast_to(c3, x0.shape)
    for _ in range(10):
        x0, x1, x2, x3 = (
            _multiply_high(x2, m1) ^ x1 ^ k0,
            x2 * m1,
            _multiply_high(x0, m0) ^ x3 ^ k1,
            x0 * m0,
        )
        k0, k1 = k0 + w0, k1 + w1
    return x0, x1, x2, x3


# ---------------------------------------------------------------------------------------------------- numbers
def _guarded(word: jax.Array, real: Any, bits: Any) -> Multiply:
    """A product that no compiler can contract with the sum after it."""
    from jax import lax

    zero = ((word * (word + 1)) & 1).astype(bits)

    def multiply(a: jax.Array, b: Any) -> jax.Array:
        product: jax.Array = lax.bitcast_convert_type(lax.bitcast_convert_type(a * b, bits) ^ zero, real)
        return product

    return multiply


def _horner(multiply: Multiply, coefficients: Sequence[Any], x: jax.Array) -> jax.Array:
    import jax.numpy as jnp

    total = jnp.full_like(x, float(coefficients[-1]))
    for c in reversed(coefficients[:-1]):
        total = multiply(total, x) + x.dtype.type(c)
    return total


def _finish(law: Law, unit: jax.Array, multiply: Multiply) -> jax.Array:
    import jax.numpy as jnp

    real = unit.dtype.type
    inside = jnp.minimum(jnp.maximum(unit, real(law.lower)), real(law.upper))
    number: jax.Array = multiply(inside, real(law.width)) + real(law.shift)
    return number


def _number32(law: Law, word: jax.Array) -> jax.Array:
    import jax.numpy as jnp
    from jax import lax

    multiply = _guarded(word, jnp.float32, jnp.uint32)
    if law.kind == "uniform":
        signed = lax.bitcast_convert_type(word ^ jnp.uint32(1 << 31), jnp.int32) >> 8
        return _finish(law, (signed.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23), multiply)
    if law.window is not None:
        word = jnp.uint32(law.window.low) + _multiply_high(word, jnp.uint32(law.window.size))
    return _finish(law, _normal32(word, multiply), multiply)


def _normal32(word: jax.Array, multiply: Multiply) -> jax.Array:
    import jax.numpy as jnp
    from jax import lax

    signed = lax.bitcast_convert_type(word, jnp.int32)
    magnitude = signed ^ (signed >> 31)
    scale = jnp.float32(2.0**-31)
    a = (magnitude.astype(jnp.float32) + 0.5) * scale
    b = multiply((magnitude ^ 0x7FFFFFFF).astype(jnp.float32) + 0.5, scale)
    bits = lax.bitcast_convert_type(a * (b + 1.0), jnp.int32)
    exponent = (bits - 0x3F3504F3) >> 23
    fraction = lax.bitcast_convert_type(bits - (exponent << 23), jnp.float32) - 1.0
    log2 = exponent.astype(jnp.float32) + multiply(fraction, _horner(multiply, ref.LOG2_COEFFICIENTS, fraction))
    w = -log2
    z = b * (_horner(multiply, ref.NUMERATOR, w) / _horner(multiply, ref.DENOMINATOR, w))
    return jnp.where(signed < 0, z, -z)


def _number64(law: Law, high: jax.Array, low: jax.Array) -> jax.Array:
    import jax.numpy as jnp
    from jax import lax

    multiply = _guarded(high, jnp.float64, jnp.uint64)
    word = (high.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)
    if law.kind == "uniform":
        signed = lax.bitcast_convert_type(word ^ jnp.uint64(1 << 63), jnp.int64) >> 11
        return _finish(law, (signed.astype(jnp.float64) + 0.5) * 2.0**-52, multiply)
    if law.window is not None:
        word = jnp.uint64(law.window.low) + _multiply_high64(word, law.window.size)
    return _finish(law, _normal64(word, multiply), multiply)


def _multiply_high64(x: jax.Array, size: int) -> jax.Array:
    import jax.numpy as jnp

    mask, high, low = jnp.uint64(0xFFFFFFFF), jnp.uint64(size >> 32), jnp.uint64(size & 0xFFFFFFFF)
    xh, xl = x >> 32, x & mask
    u = xh * low + ((xl * low) >> 32)
    v = xl * high + (u & mask)
    result: jax.Array = xh * high + (u >> 32) + (v >> 32)
    return result


def _log(x: jax.Array, multiply: Multiply) -> jax.Array:
    import jax.numpy as jnp
    from jax import lax

    bits = lax.bitcast_convert_type(x, jnp.int64)
    exponent = (bits - ref64.SQRT_HALF_BITS) >> 52
    f = lax.bitcast_convert_type(bits - (exponent << 52), jnp.float64) - 1.0
    k = exponent.astype(jnp.float64)
    s = f / (f + 2.0)
    z = multiply(s, s)
    w = multiply(z, z)
    odd, even = _horner(multiply, ref64.LOG_ODD, w), _horner(multiply, ref64.LOG_EVEN, w)
    r = multiply(z, odd) + multiply(w, even)
    half_square = multiply(multiply(f, f), 0.5)
    inner = multiply(s, half_square + r) + multiply(k, ref64.LN2_LOW)
    result: jax.Array = multiply(k, ref64.LN2_HIGH) - ((half_square - inner) - f)
    return result


def _normal64(word: jax.Array, multiply: Multiply) -> jax.Array:
    import jax.numpy as jnp
    from jax import lax

    signed = lax.bitcast_convert_type(word, jnp.int64)
    magnitude = signed ^ (signed >> 63)
    a = (magnitude.astype(jnp.float64) + 0.5) * 2.0**-64
    q = multiply((magnitude ^ 0x7FFFFFFFFFFFFFFF).astype(jnp.float64) + 0.5, 2.0**-64)
    x = -_log(a, multiply)
    r = lax.bitcast_convert_type((lax.bitcast_convert_type(x, jnp.int64) >> 1) + ref64.SQRT_GUESS, jnp.float64)
    for _ in range(4):
        r = multiply(r + x / r, 0.5)

    def ratio(pair: tuple[tuple[float, ...], tuple[float, ...]], at: jax.Array) -> jax.Array:
        return _horner(multiply, pair[0], at) / _horner(multiply, pair[1], at)

    inner = q * ratio(ref64.CENTRE, ref64.CENTRE_SQUARED - multiply(q, q))
    outer = jnp.where(
        r <= ref64.FAR_SHIFT, ratio(ref64.TAIL, r - ref64.TAIL_SHIFT), ratio(ref64.FAR_TAIL, r - ref64.FAR_SHIFT)
    )
    z = jnp.where(q <= ref64.CENTRE_HALF_WIDTH, inner, outer)
    return jnp.where(signed < 0, z, -z)
