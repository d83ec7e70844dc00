"""The CPU kernels: the arithmetic of the two references, compiled by numba. Same bits, fifteen times the speed.

`ready` compiles a fill at its first use ever, and later loads it from numba's cache; `cpu` decides whether that can be
had at all. How the kernels are laid out, and why:

* Work goes by pieces that stay in a core's own caches: first the words, then the numbers, then the rounding and the
  store. Each step is a flat loop that LLVM turns into vectors; one loop over all steps it does not.
* Large fills are written past the caches (`cpu` says which). Nothing else is written until the last such line has left
  the core, a tenth of a microsecond later: hence pieces of 16384 elements, where 2048 would do for plain stores.
* Philox runs in 64-bit lanes, where a 32 x 32 -> 64 bit product is one instruction and the outputs are in order.
* Powers of two are folded into constants, and polynomials run in -w; neither changes any rounding.
* No fused multiply-add: LLVM forms none unless asked to.
* Kernels are serial and release the GIL; threads take disjoint ranges, so their number cannot matter.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types, uint32, uint64
from numba.extending import intrinsic

from fanin.streams import reference as ref
from fanin.streams import reference64 as ref64

__all__ = ["CHUNK", "DENSE", "SCATTERED", "STREAMED", "is_kept", "ready"]

CHUNK = 16384
SCATTERED, DENSE, STREAMED = 0, 1, 2
_UNIFORM = 1
_LINE = 64  # bytes of a cache line

_f32 = np.float32
_L0, _L1, _L2, _L3, _L4, _L5, _L6 = ref.LOG2_COEFFICIENTS
# coefficients of polynomials in -w: odd ones change sign
_N0, _N1, _N2, _N3, _N4, _N5, _N6 = (_f32(c) if k % 2 == 0 else _f32(-c) for k, c in enumerate(ref.NUMERATOR))
_D0, _D1, _D2, _D3, _D4, _D5 = (_f32(c) if k % 2 == 0 else _f32(-c) for k, c in enumerate(ref.DENOMINATOR))
_HALF, _ONE, _TWO31 = _f32(0.5), _f32(1.0), _f32(2.0**31)
_SQRT_HALF = np.int32(0x3F3504F3)
_FOLDED = np.int32(0x3F3504F3 + (62 << 23))  # both factors of y carry 2**31


@intrinsic
def _wide_vectors(typingctx: Any) -> Any:
    """Ask LLVM for 512-bit vectors where the CPU has them; it prefers 256 by itself (a third slower here)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        with contextlib.suppress(Exception):  # a hint past llvmlite's list of known attributes: speed, not results
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


def _bitcast(to: Any, llvm: Any) -> Any:
    @intrinsic
    def cast(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], llvm)

        return to(value), codegen

    return cast


_as_i32 = _bitcast(types.int32, ir.IntType(32))
_as_f32 = _bitcast(types.float32, ir.FloatType())
_as_i64 = _bitcast(types.int64, ir.IntType(64))
_as_f64 = _bitcast(types.float64, ir.DoubleType())


@intrinsic
def _lines_before(typingctx: Any, array: Any, at: Any) -> Any:
    """How many elements of a flat array are between its element `at` and the next cache line's beginning."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, size = signature.args[0], ir.IntType(64)
        place = _address(context, builder, kind, args[0], args[1])
        behind = builder.and_(builder.neg(builder.ptrtoint(place, size)), ir.Constant(size, _LINE - 1))
        return builder.udiv(behind, ir.Constant(size, kind.dtype.bitwidth // 8))

    return types.int64(array, types.int64), codegen


@intrinsic
def _store_line(typingctx: Any, out: Any, to: Any, numbers: Any, since: Any) -> Any:
    """Write one cache line of `numbers` to `out`, where a line begins, past the caches."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        element = context.get_data_type(kind.dtype)
        line = ir.VectorType(element, _LINE * 8 // kind.dtype.bitwidth).as_pointer()
        target, source = (builder.bitcast(_address(context, builder, kind, args[k], args[k + 1]), line) for k in (0, 2))
        store = builder.store(builder.load(source, align=kind.dtype.bitwidth // 8), target, align=_LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(out, types.int64, out, types.int64), codegen


@intrinsic
def _settle(typingctx: Any) -> Any:
    """Let other threads see what was written past the caches before they see that this one is done."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


_inline = njit(inline="always")


# Division as IEEE says. The steps are compiled into the three fills; those are kept on disk and run without the GIL.
_step = njit(error_model="numpy")
_fill = njit(cache=True, nogil=True, error_model="numpy")


@_inline
def _round(x0: Any, x1: Any, x2: Any, x3: Any, k0: Any, k1: Any) -> Any:
    # Only the factors are cut to 32 bits; what else is in the upper halves never reaches a result.
    p0 = (x0 & uint64(0xFFFFFFFF)) * uint64(0xD2511F53)
    p1 = (x2 & uint64(0xFFFFFFFF)) * uint64(0xCD9E8D57)
    return (p1 >> uint64(32)) ^ x1 ^ k0, p1, (p0 >> uint64(32)) ^ x3 ^ k1, p0


@_inline
def _philox(block: Any, k0: Any, k1: Any, c2: Any, c3: Any) -> Any:
    """One block: its four words as two 64-bit numbers (x0 | x1 << 32, x2 | x3 << 32). Rounds are written out."""
    w0, w1 = uint64(0x9E3779B9), uint64(0xBB67AE85)
    x0, x1, x2, x3 = _round(block, block >> uint64(32), c2, c3, k0, k1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0, k1 + w1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(2), k1 + w1 * uint64(2))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(3), k1 + w1 * uint64(3))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(4), k1 + w1 * uint64(4))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(5), k1 + w1 * uint64(5))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(6), k1 + w1 * uint64(6))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(7), k1 + w1 * uint64(7))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(8), k1 + w1 * uint64(8))
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, k0 + w0 * uint64(9), k1 + w1 * uint64(9))
    mask = uint64(0xFFFFFFFF)
    return (x0 & mask) | (x1 << uint64(32)), (x2 & mask) | (x3 << uint64(32))


# ---------------------------------------------------------------------------------------------------- words
@_step
def _blocks(out: Any, first: Any, count: Any, stream: Any) -> None:
    """The words of `count` consecutive blocks, two 64-bit numbers a block."""
    _wide_vectors()
    k0, k1 = stream[0] & uint64(0xFFFFFFFF), stream[0] >> uint64(32)
    c2, c3 = stream[1], stream[2]
    for i in range(count):
        a, b = _philox(first + uint64(i), k0, k1, c2, c3)
        out[2 * i] = a
        out[2 * i + 1] = b


@_step
def _gather(out: Any, index: Any, count: Any, stream: Any) -> None:
    """The words of any elements, one block each."""
    _wide_vectors()
    k0, k1 = stream[0] & uint64(0xFFFFFFFF), stream[0] >> uint64(32)
    c2, c3 = stream[1], stream[2]
    for i in range(count):
        a, b = _philox(index[i] >> uint64(2), k0, k1, c2, c3)
        pair = b if index[i] & uint64(2) else a
        out[i] = uint32(pair >> ((index[i] & uint64(1)) << uint64(5)))


@_step
def _positions(out: Any, first: Any, count: Any, shape: Any, strides: Any, base: Any) -> None:
    """Offsets of elements first .. first + count - 1 of a strided box in row-major order."""
    inner, step = shape[shape.size - 1], strides[shape.size - 1]
    done = 0
    while done < count:
        rest = (first + done) // inner
        here = first + done - rest * inner
        offset = np.int64(base)
        for axis in range(shape.size - 2, -1, -1):
            above = rest // shape[axis]
            offset += (rest - above * shape[axis]) * strides[axis]
            rest = above
        take = min(inner - here, count - done)
        for j in range(take):
            out[done + j] = uint64(offset + (here + j) * step)
        done += take


@_step
def _copy(out: Any, first: Any, found: Any, begin: Any, count: Any) -> None:
    """An assignment of slices would do, but the message for shapes that differ takes three seconds to compile."""
    to, since = uint64(first), uint64(begin)
    for i in range(uint64(count)):
        out[to + i] = found[since + i]


@_step
def _words(
    out: Any,
    spare: Any,
    index: Any,
    first: Any,
    count: Any,
    shape: Any,
    strides: Any,
    start: Any,
    run: Any,
    stream: Any,
) -> None:
    """The words of elements first .. of a box; `run` consecutive ones at a time (0: all of them; 1: none are)."""
    words = out.view(np.uint32)
    if run == 1:
        _positions(index, first, count, shape, strides, start)
        _gather(words, index, count, stream)
        return
    aligned = spare.view(np.uint32)
    done = 0
    while done < count:
        take, begin = count - done, start + uint64(first + done)
        if run > 0:
            take = min(take, run - (first + done) % run)
            _positions(index, first + done, 1, shape, strides, start)
            begin = index[0]
        skip = np.int64(begin & uint64(3))
        if skip == 0 and done == 0 and take == count:
            _blocks(out, begin >> uint64(2), (take + 3) >> 2, stream)
        else:
            _blocks(spare, begin >> uint64(2), (skip + take + 3) >> 2, stream)
            _copy(words, done, aligned, skip, take)
        done += take


@_step
def _windowed(words: Any, pairs: Any, window: Any) -> None:
    """Map pairs of 32-bit words into the window low + floor(x size / 2**32)."""
    _wide_vectors()
    mask, low, size = uint64(0xFFFFFFFF), window[0], window[1]
    for i in range(pairs):
        even = low + (((words[i] & mask) * size) >> uint64(32))
        odd = low + (((words[i] >> uint64(32)) * size) >> uint64(32))
        words[i] = even | (odd << uint64(32))


# ---------------------------------------------------------------------------------------------------- float32
@_step
def _uniform32(out: Any, words: Any, count: Any, law: Any) -> None:
    _wide_vectors()
    width, shift = law[2], law[3]
    for i in range(count):
        signed = np.int32(_as_i32(uint32(words[i] ^ uint32(0x80000000))) >> np.int32(8))
        out[i] = (_f32(signed) + _HALF) * _f32(2.0**-23) * width + shift


@_step
def _normal32(out: Any, words: Any, count: Any, law: Any) -> None:
    """Normal numbers; z carries 2**31 until the width, 2**-31 times the law's, takes it away."""
    _wide_vectors()
    lower, upper, width, shift = law[0], law[1], law[2], law[3]
    for i in range(count):
        x = _as_i32(words[i])
        m = np.int32(x ^ np.int32(x >> np.int32(31)))
        a = _f32(m) + _HALF
        b = _f32(np.int32(m ^ np.int32(0x7FFFFFFF))) + _HALF
        t = np.int32(_as_i32(a * (b + _TWO31)) - _FOLDED)
        e = np.int32(t >> np.int32(23))
        f = _as_f32(np.int32(np.int32(t & np.int32(0x7FFFFF)) + _SQRT_HALF)) - _ONE
        g = (((((_L6 * f + _L5) * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0
        u = _f32(e) + f * g  # -w
        top = (((((_N6 * u + _N5) * u + _N4) * u + _N3) * u + _N2) * u + _N1) * u + _N0
        bottom = ((((_D5 * u + _D4) * u + _D3) * u + _D2) * u + _D1) * u + _D0
        size = _as_i32(b * (top / bottom))
        z = _as_f32(np.int32(size | np.int32(np.int32(~x) & np.int32(-0x80000000))))
        z = z if z > lower else lower
        z = z if z < upper else upper
        out[i] = z * width + shift


# ---------------------------------------------------------------------------------------------------- float64
_C0, _C1 = ref64.CENTRE
_T0, _T1 = ref64.TAIL
_R0, _R1 = ref64.FAR_TAIL
_E0, _E1, _E2 = ref64.LOG_EVEN
_O0, _O1, _O2, _O3 = ref64.LOG_ODD
_LN2_HIGH, _LN2_LOW, _SQRT_HALF64 = ref64.LN2_HIGH, ref64.LN2_LOW, np.int64(ref64.SQRT_HALF_BITS)


@_inline
def _horner8(c: Any, x: Any) -> Any:
    return ((((((c[7] * x + c[6]) * x + c[5]) * x + c[4]) * x + c[3]) * x + c[2]) * x + c[1]) * x + c[0]


@_inline
def _log(x: Any) -> Any:
    bits = _as_i64(x)
    exponent = (bits - _SQRT_HALF64) >> np.int64(52)
    f = _as_f64(bits - (exponent << np.int64(52))) - 1.0
    k = np.float64(exponent)
    s = f / (f + 2.0)
    z = s * s
    w = z * z
    r = z * (((_O3 * w + _O2) * w + _O1) * w + _O0) + w * ((_E2 * w + _E1) * w + _E0)
    half_square = f * f * 0.5
    return k * _LN2_HIGH - ((half_square - (s * (half_square + r) + k * _LN2_LOW)) - f)


@_inline
def _sqrt(x: Any) -> Any:
    r = _as_f64((_as_i64(x) >> np.int64(1)) + np.int64(ref64.SQRT_GUESS))
    r = (r + x / r) * 0.5
    r = (r + x / r) * 0.5
    r = (r + x / r) * 0.5
    return (r + x / r) * 0.5


@_inline
def _normal64(word: Any) -> Any:
    signed = _as_i64(word)
    m = signed ^ (signed >> np.int64(63))
    a = (np.float64(m) + 0.5) * 2.0**-64
    q = (np.float64(m ^ np.int64(0x7FFFFFFFFFFFFFFF)) + 0.5) * 2.0**-64
    if q <= ref64.CENTRE_HALF_WIDTH:
        near = ref64.CENTRE_SQUARED - q * q
        z = q * (_horner8(_C0, near) / _horner8(_C1, near))
    else:
        r = _sqrt(-_log(a))
        if r <= ref64.FAR_SHIFT:
            r = r - ref64.TAIL_SHIFT
            z = _horner8(_T0, r) / _horner8(_T1, r)
        else:
            r = r - ref64.FAR_SHIFT
            z = _horner8(_R0, r) / _horner8(_R1, r)
    return z if signed < 0 else -z


@_inline
def _multiply_high(x: Any, size: Any) -> Any:
    mask, half = uint64(0xFFFFFFFF), uint64(32)
    xh, xl, high, low = x >> half, x & mask, size >> half, size & mask
    u = xh * low + ((xl * low) >> half)
    v = xl * high + (u & mask)
    return xh * high + (u >> half) + (v >> half)


@_step
def _numbers64(out: Any, high: Any, low: Any, count: Any, kind: Any, window: Any, law: Any) -> None:
    """Uniform or normal numbers of 64-bit words, clamped, times the width, plus the shift."""
    for i in range(count):
        word = (uint64(high[i]) << uint64(32)) | uint64(low[i])
        if kind == _UNIFORM:
            z = (np.float64(_as_i64(word ^ uint64(1 << 63)) >> np.int64(11)) + 0.5) * 2.0**-52
        else:
            if window[1] > uint64(0):
                word = window[0] + _multiply_high(word, window[1])
            z = _normal64(word)
        z = z if z > law[0] else law[0]
        z = z if z < law[1] else law[1]
        out[i] = z * law[2] + law[3]


# ---------------------------------------------------------------------------------------------------- rounding
@_step
def _bfloat16(out: Any, x: Any, count: Any) -> None:
    _wide_vectors()
    for i in range(count):
        bits = uint32(_as_i32(x[i]))
        out[i] = np.uint16(uint32(bits + uint32(0x7FFF) + uint32(uint32(bits >> uint32(16)) & uint32(1))) >> uint32(16))


@_step
def _float16(out: Any, x: Any, count: Any) -> None:
    """Round to nearest even by integers; below 2**-14 a float32 addition does the rounding."""
    _wide_vectors()
    magic = uint32(126 << 23)  # 0.5: its last place is 2**-24, float16's smallest step
    for i in range(count):
        bits = uint32(_as_i32(x[i]))
        size = uint32(bits & uint32(0x7FFFFFFF))
        odd = uint32(uint32(size >> uint32(13)) & uint32(1))
        normal = uint32(uint32(size - uint32(112 << 23) + uint32(0xFFF) + odd) >> uint32(13))
        tiny = uint32(uint32(_as_i32(_as_f32(np.int32(size)) + _HALF)) - magic)
        value = tiny if size < uint32(113 << 23) else normal
        out[i] = np.uint16(value | uint32(uint32(bits >> uint32(16)) & uint32(0x8000)))


# ---------------------------------------------------------------------------------------------------- fills
# places = (shape, strides, steps, start, run) of a `Walk`, and how a piece gets to its place: one of the three ways
# law = (stream, low_stream, kind, double, law32, law64, window, brain), where the laws are (lower, upper, width, shift)
@_step
def _numbers(out32: Any, out64: Any, scratch: Any, first: Any, count: Any, places: Any, law: Any) -> None:
    """The numbers of one piece: into out64 where the law is double, else into out32."""
    words, low, spare, index = scratch
    shape, strides, _, start, run, _ = places
    stream, low_stream, kind, double, law32, law64, window, _ = law
    _words(words, spare, index, first, count, shape, strides, start, run, stream)
    if double:
        _words(low, spare, index, first, count, shape, strides, start, run, low_stream)
        _numbers64(out64, words.view(np.uint32), low.view(np.uint32), count, kind, window, law64)
    elif kind == _UNIFORM:
        _uniform32(out32, words.view(np.uint32), count, law32)
    else:
        if window[1] > uint64(0):
            _windowed(words, (count + 1) >> 1, window)
        _normal32(out32, words.view(np.uint32), count, law32)


@_inline
def _apart(size: Any, dtype: Any) -> Any:
    """Scratch with more room before and behind it than a core fetches ahead.

    Where another thread's scratch lies next to it, the cores take lines of it from each other: two threads were 1.63
    times as fast as one then (uniform, float32, median of twelve processes), and are 1.76 times as fast so.
    """
    return np.empty(size + 4096, dtype)[2048 : 2048 + size]


@_step
def _scratch() -> Any:
    """Words, low words, words of blocks that begin before or end after a run, and indices."""
    half = CHUNK // 2
    return (
        _apart(half, np.uint64),
        _apart(half, np.uint64),
        _apart(half + 4, np.uint64),
        _apart(CHUNK, np.uint64),
    )


@_step
def _scatter(out: Any, numbers: Any, index: Any, first: Any, count: Any, places: Any) -> None:
    _positions(index, first, count, places[0], places[2], uint64(0))
    for i in range(count):
        out[index[i]] = numbers[i]


@_step
def _past_the_caches(out: Any, first: Any, numbers: Any, count: Any) -> None:
    """Copy numbers to where no one reads them soon: a core's plain store fetches the line before it writes it."""
    per_line = _LINE // out.itemsize
    done = min(_lines_before(out, first), count)
    _copy(out, first, numbers, 0, done)
    while count - done >= per_line:
        _store_line(out, first + done, numbers, done)
        done += per_line
    _copy(out, first + done, numbers, done, count - done)


@_step
def _deliver(out: Any, numbers: Any, index: Any, first: Any, count: Any, places: Any) -> None:
    """Bring a piece to where it goes, unless it was written there."""
    if places[5] == SCATTERED:
        _scatter(out, numbers, index, first, count, places)
    elif places[5] == STREAMED:
        _past_the_caches(out, first, numbers, count)


@_fill
def _fill_single(out: Any, begin: Any, end: Any, places: Any, law: Any) -> None:
    """Elements begin .. end - 1 of a box, as float32."""
    scratch, singles, doubles = _scratch(), _apart(CHUNK, np.float32), _apart(CHUNK, np.float64)
    way = places[5]
    for first in range(begin, end, CHUNK):
        count = min(CHUNK, end - first)
        target = out[first : first + count] if way == DENSE else singles
        _numbers(target, doubles, scratch, first, count, places, law)
        if law[3]:
            for i in range(count):
                target[i] = _f32(doubles[i])
        _deliver(out, target, scratch[3], first, count, places)
    _settle()


@_fill
def _fill_half(out: Any, begin: Any, end: Any, places: Any, law: Any) -> None:
    """Likewise, as the bits of bfloat16 (`brain`) or float16."""
    scratch, singles, doubles = _scratch(), _apart(CHUNK, np.float32), _apart(CHUNK, np.float64)
    halves, way = _apart(CHUNK, np.uint16), places[5]
    for first in range(begin, end, CHUNK):
        count = min(CHUNK, end - first)
        target = out[first : first + count] if way == DENSE else halves
        _numbers(singles, doubles, scratch, first, count, places, law)
        if law[3]:
            for i in range(count):
                singles[i] = _f32(doubles[i])
        if law[7]:
            _bfloat16(target, singles, count)
        else:
            _float16(target, singles, count)
        _deliver(out, target, scratch[3], first, count, places)
    _settle()


@_fill
def _fill_double(out: Any, begin: Any, end: Any, places: Any, law: Any) -> None:
    """Likewise, as float64."""
    scratch, singles, doubles = _scratch(), _apart(1, np.float32), _apart(CHUNK, np.float64)
    way = places[5]
    for first in range(begin, end, CHUNK):
        count = min(CHUNK, end - first)
        target = out[first : first + count] if way == DENSE else doubles
        _numbers(singles, target, scratch, first, count, places, law)
        _deliver(out, target, scratch[3], first, count, places)
    _settle()


@_fill
def _fill_words(out: Any, begin: Any, end: Any, places: Any, law: Any) -> None:
    """Likewise, as the words themselves; of the law only the stream is read."""
    words, _, spare, index = _scratch()
    shape, strides, _, start, run, _ = places
    for first in range(begin, end, CHUNK):
        count = min(CHUNK, end - first)
        _words(words, spare, index, first, count, shape, strides, start, run, law[0])
        _copy(out, first, words.view(np.uint32), 0, count)


_FILLS = {"uint32": _fill_words, "float32": _fill_single, "uint16": _fill_half, "float64": _fill_double}


def _load_array_functions() -> None:
    """Let numba load its array functions without asking SciPy for its BLAS.

    It asks by importing scipy.linalg, a third of the time that a first fill takes, and asks again before it compiles
    anything that calls BLAS. Nothing here does.
    """
    if "scipy.linalg" in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    with contextlib.suppress(ImportError, AttributeError):  # another numba: it loads them at the first call
        linalg: Any = importlib.import_module("numba.np.linalg")
        asked = linalg.ensure_blas
        linalg.ensure_blas = lambda: None
        try:
            arrays: Any = importlib.import_module("numba.np.arraymath")
            arrays.ensure_blas = asked
        finally:
            linalg.ensure_blas = asked


def is_kept(memory: str) -> bool:
    """Whether the fill for memory of the given dtype was compiled before, and is on disk; a guess from the files."""
    fill = _FILLS[memory]
    return any(Path(fill.stats.cache_path).glob(f"numba_kernels.{fill.__name__}-*.nbi"))


def ready(memory: str) -> Any:
    """The fill for memory of the given dtype, after one empty call that compiles it or loads it from the cache."""
    _load_array_functions()
    fill = _FILLS[memory]
    axes, words = np.ones(1, np.int64), np.zeros(3, np.uint64)
    law = (words, words, 0, 0, np.zeros(4, np.float32), np.zeros(4), words[:2], 0)
    fill(np.empty(0, memory), 0, 0, (axes, axes, axes, np.uint64(0), 0, 1), law)
    return fill
