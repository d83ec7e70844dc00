"""Numbers of a stream as NumPy arrays: a whole tensor, or any strided box of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from fanin.errors import ShapeError
from fanin.streams.arguments import assert_draw, assert_key, assert_target, assert_threads
from fanin.streams.boxes import Box
from fanin.streams.cpu import fill_memory, fill_words
from fanin.streams.dtypes import fill_dtype, memory_dtype, numpy_dtype
from fanin.streams.keys import Key
from fanin.streams.law import parts, prepare
from fanin.streams.spec import Draw

__all__ = ["sample", "sample_into", "unit_words"]


def unit_words(key: Key, shape: Sequence[int], *, box: Sequence[slice] | None = None) -> npt.NDArray[np.uint32]:
    """The 32-bit words of a tensor's elements, for laws that need bits (signs, choices) rather than numbers.

    Args:
        key: stream; take one with a purpose of its own.
        shape: global shape.
        box: slices, one an axis, of the part wanted.

    Example:
        >>> from fanin.streams.keys import key
        >>> [f"{w:08x}" for w in unit_words(key(0, "model.layers.0.self_attn.q_proj.weight"), (2,))]
        ['84388816', '50a79047']
    """
    assert_key(key)
    where = Box.of(shape, box)
    out = np.empty(where.size, np.uint32)
    fill_words(out, key, where)
    return out.reshape(where.shape)


def sample(
    draw: Draw, key: Key, shape: Sequence[int], *, dtype: Any = "float32", box: Sequence[slice] | None = None
) -> npt.NDArray[Any]:
    """Numbers that follow `draw`: a function of (key, element index in the global tensor) alone.

    Args:
        draw: the elementwise law.
        key: the stream, ``fanin.key(seed, name)``.
        shape: shape of the whole tensor, also where only a box of it is wanted.
        dtype: float32, float64, bfloat16 (an array of ml_dtypes.bfloat16), float16, complex64 or complex128. The halves
            are the float32 numbers rounded to nearest even. float64 numbers come from two words each and refine the
            float32 ones. Complex: (a + ib) / sqrt(2) with a and b from two streams, so E|w - shift|^2 is the second
            moment of the real law.
        box: slices (steps >= 1 allowed), one an axis, of the part wanted; the result equals that slice of the
            whole.

    Returns:
        A new C-contiguous array.

    Raises:
        DtypeError: the dtype cannot be drawn, or cannot hold the numbers.
        ShapeError: the box does not fit the shape.
        ArgumentError: a truncation window that holds too few words.

    Example:
        >>> from fanin.streams.keys import key
        >>> draw = Draw(kind="normal", width=0.02)
        >>> whole = sample(draw, key(0, "fc1.weight"), (4, 6))
        >>> part = sample(draw, key(0, "fc1.weight"), (4, 6), box=(slice(1, 3), slice(2, 6)))
        >>> bool((part == whole[1:3, 2:6]).all())
        True
    """
    assert_key(key)
    assert_draw(draw)
    out = np.empty(Box.of(shape, box).shape, numpy_dtype(fill_dtype(dtype).name))
    sample_into(out, draw, key, shape=shape, box=box)
    return out


def sample_into(
    out: npt.NDArray[Any],
    draw: Draw,
    key: Key,
    *,
    shape: Sequence[int] | None = None,
    box: Sequence[slice] | None = None,
    threads: int | None = None,
) -> None:
    """Write the numbers of `sample` into an existing array of any strides, in its dtype.

    Args:
        out: where to; its elements must not overlap.
        draw: the elementwise law.
        key: the stream.
        shape: shape of the whole tensor, where `out` is a box of it.
        box: which box.
        threads: at most so many; the bits do not depend on it.

    Raises:
        ArgumentError: `out` is no array, is read-only or broadcast; something that is no key, law or count of threads.
        ShapeError: `out` does not have the shape of the box.
        DtypeError: `out` has a dtype that cannot be drawn, or another machine's byte order.

    Example:
        >>> from fanin.streams.keys import key
        >>> out = np.empty((6, 4), np.float32).T
        >>> sample_into(out, Draw(kind="uniform"), key(0, "w"))
        >>> bool((out == sample(Draw(kind="uniform"), key(0, "w"), (4, 6))).all())
        True
    """
    assert_key(key)
    assert_draw(draw)
    assert_threads(threads)
    assert_target(out)
    law, where = prepare(draw, out.dtype), Box.of(out.shape if shape is None else shape, box)
    if where.shape != out.shape:
        raise ShapeError(f"the array has shape {out.shape} and the box {box} has {where.shape}; they must be equal")
    if out.size == 0:
        return
    lanes = (out.real, out.imag) if law.dtype.is_complex else (out,)
    for lane, (part, part_key) in zip(lanes, parts(law, key), strict=True):
        fill_memory(_span(lane), part, part_key, where, steps=_steps(lane), threads=threads)


def _steps(a: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(stride // a.itemsize for stride in a.strides)


def _span(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The memory from the first to the last element of an array, as one axis of what the engines write."""
    reach = 1 + sum((size - 1) * step for size, step in zip(a.shape, _steps(a), strict=True))
    return as_strided(a, (reach,), (a.itemsize,)).view(memory_dtype(a.dtype.name))
