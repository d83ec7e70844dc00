"""The CUDA kernel, in Triton: the arithmetic of `reference` in float32. Same bits.

Products and sums are kept apart by ``enable_fp_fusion=False`` at launch, and divisions are correctly rounded ones. Four
numbers come from each Philox block where elements follow each other in the stream, else one. Triton reads
annotations as types of its own, so arguments carry none.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fanin.streams import reference as ref

__all__ = ["fill_dense", "fill_strided"]

_L0, _L1, _L2, _L3, _L4, _L5, _L6 = (tl.constexpr(float(c)) for c in ref.LOG2_COEFFICIENTS)
_N0, _N1, _N2, _N3, _N4, _N5, _N6 = (tl.constexpr(float(c)) for c in ref.NUMERATOR)
_D0, _D1, _D2, _D3, _D4, _D5 = (tl.constexpr(float(c)) for c in ref.DENOMINATOR)


@triton.jit
def _philox(block, k0, k1, c2, c3):
    x0 = block.to(tl.uint32)
    x1 = (block >> 32).to(tl.uint32)
    x2 = tl.zeros_like(x0) + c2.to(tl.uint32)
    x3 = tl.zeros_like(x0) + c3.to(tl.uint32)
    key0 = tl.zeros_like(x0) + k0.to(tl.uint32)
    key1 = tl.zeros_like(x0) + k1.to(tl.uint32)
    m0 = tl.full(x0.shape, 0xD2511F53, tl.uint32)
    m1 = tl.full(x0.shape, 0xCD9E8D57, tl.uint32)
    w0 = tl.full(x0.shape, 0x9E3779B9, tl.uint32)
    w1 = tl.full(x0.shape, 0xBB67AE85, tl.uint32)
    for _ in tl.static_range(10):
        y0 = tl.umulhi(x2, m1) ^ x1 ^ key0
        y2 = tl.umulhi(x0, m0) ^ x3 ^ key1
        x1 = x2 * m1
        x3 = x0 * m0
        x0 = y0
        x2 = y2
        key0 = key0 + w0
        key1 = key1 + w1
    return x0, x1, x2, x3


@triton.jit
def _number(word, window_low, window_size, lower, upper, width, shift, uniform):
    """Uniform or normal numbers, clamped, times the width, plus the shift, in float32."""
    if uniform:
        signed = (word ^ tl.full(word.shape, 0x80000000, tl.uint32)).to(tl.int32, bitcast=True) >> 8
        z = (signed.to(tl.float32) + 0.5) * 1.1920928955078125e-07
    else:
        if window_size > 0:
            word = window_low.to(tl.uint32) + tl.umulhi(word, tl.zeros_like(word) + window_size.to(tl.uint32))
        signed = word.to(tl.int32, bitcast=True)
        m = signed ^ (signed >> 31)
        a = (m.to(tl.float32) + 0.5) * 4.656612873077393e-10
        b = ((m ^ 0x7FFFFFFF).to(tl.float32) + 0.5) * 4.656612873077393e-10
        bits = (a * (b + 1.0)).to(tl.int32, bitcast=True)
        e = (bits - 0x3F3504F3) >> 23
        f = (bits - (e << 23)).to(tl.float32, bitcast=True) - 1.0
        g = (((((_L6 * f + _L5) * f + _L4) * f + _L3) * f + _L2) * f + _L1) * f + _L0
        w = -(e.to(tl.float32) + f * g)
        top = (((((_N6 * w + _N5) * w + _N4) * w + _N3) * w + _N2) * w + _N1) * w + _N0
        bottom = ((((_D5 * w + _D4) * w + _D3) * w + _D2) * w + _D1) * w + _D0
        z = b * tl.div_rn(top, bottom)
        z = tl.where(signed < 0, z, -z)
        z = tl.minimum(tl.maximum(z, lower), upper)
    return z * width + shift


@triton.jit
def _store(out, place, z, inside, brain):
    if brain:
        bits = z.to(tl.uint32, bitcast=True)
        half = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        tl.store(out + place, half.to(tl.uint16).to(tl.int16, bitcast=True), mask=inside)
    else:
        tl.store(out + place, z.to(out.dtype.element_ty), mask=inside)


@triton.jit
def fill_dense(
    out, total, start, k0, k1, c2, c3, window_low, window_size,
    lower, upper, width, shift, uniform: tl.constexpr, brain: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """Elements start .. start + total - 1 of a stream, one after the other in memory."""
    first = tl.program_id(0).to(tl.int64) * blocks
    block = (start >> 2) + first + tl.arange(0, blocks).to(tl.int64)
    x0, x1, x2, x3 = _philox(block, k0, k1, c2, c3)
    word = tl.interleave(tl.interleave(x0, x2), tl.interleave(x1, x3))
    place = (first << 2) + tl.arange(0, 4 * blocks).to(tl.int64) - (start & 3)
    z = _number(word, window_low, window_size, lower, upper, width, shift, uniform)
    _store(out, place, z, (place >= 0) & (place < total), brain)


@triton.jit
def fill_strided(
    out, total, start, k0, k1, c2, c3, window_low, window_size,
    lower, upper, width, shift, n1, n2, n3, s0, s1, s2, s3,
    d0, d1, d2, d3, uniform: tl.constexpr, brain: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    """Elements of a box of up to four axes; s are their steps in the stream, d in memory."""
    rest = tl.program_id(0).to(tl.int64) * size + tl.arange(0, size).to(tl.int64)
    inside = rest < total
    i3 = rest % n3
    rest = rest // n3
    i2 = rest % n2
    rest = rest // n2
    i1 = rest % n1
    i0 = rest // n1
    index = start + i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3
    place = i0 * d0 + i1 * d1 + i2 * d2 + i3 * d3
    x0, x1, x2, x3 = _philox(index >> 2, k0, k1, c2, c3)
    lane = index & 3
    word = tl.where(lane < 2, tl.where(lane == 0, x0, x1), tl.where(lane == 2, x2, x3))
    z = _number(word, window_low, window_size, lower, upper, width, shift, uniform)
    _store(out, place, z, inside, brain)
