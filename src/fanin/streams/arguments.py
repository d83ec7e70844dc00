"""What callers give to a stream, checked: keys, laws, shapes, boxes, threads, and arrays that are to be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fanin.errors import ArgumentError, DtypeError, ShapeError
from fanin.streams.keys import Key
from fanin.streams.spec import Draw
from fanin.text.reading import shown

__all__ = ["assert_draw", "assert_key", "assert_target", "assert_threads", "checked_box", "checked_shape"]


def assert_key(key: object) -> None:
    """Check that it is a key.

    Raises:
        ArgumentError: it is not.

    Example:
        >>> assert_key("fc1.weight")
        Traceback (most recent call last):
        ...
        fanin.errors.ArgumentError: a stream needs a key; got 'fc1.weight'. Make one: fanin.key(seed, 'fc1.weight').
    """
    if not isinstance(key, Key):
        name = repr(key) if isinstance(key, str) else "name"
        raise ArgumentError(f"a stream needs a key; got {shown(key)}. Make one: fanin.key(seed, {name}).")


def assert_draw(draw: object) -> None:
    """Check that it is a `Draw`.

    Raises:
        ArgumentError: it is not.
    """
    if not isinstance(draw, Draw):
        raise ArgumentError(
            f"an elementwise law is a Draw(kind=..., width=...); got {shown(draw)}. Of an initializer take "
            "law.sample(shape, key=key)."
        )


def assert_threads(threads: object) -> None:
    """Check that it is a number of threads: None for as many as there are cores, or at least 1.

    Raises:
        ArgumentError: it is not.
    """
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ArgumentError(f"threads is None or a whole number >= 1; got {shown(threads)}")


def assert_target(out: object) -> None:
    """Check that an array can be written: NumPy's own byte order, not read-only, every element in a place of its own.

    Raises:
        ArgumentError: no array, or one that cannot be written.
        DtypeError: another byte order.
    """
    if not isinstance(out, np.ndarray):
        raise ArgumentError(
            f"numbers are written into a NumPy array; got {type(out).__name__}. Make one: np.empty(shape)."
        )
    if not out.flags.writeable:
        raise ArgumentError("the array is read-only, so nothing can be written into it; give a copy: array.copy()")
    if not out.dtype.isnative:
        raise DtypeError(
            f"the array's numbers have the byte order of another machine ({out.dtype.str}); write into one of dtype "
            f"{out.dtype.newbyteorder('=')} and convert it."
        )
    if out.size and any(size > 1 and step == 0 for size, step in zip(out.shape, out.strides, strict=True)):
        raise ArgumentError("elements of the array share their places; give one that was not broadcast: array.copy()")


def checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as a tuple of Python ints.

    Raises:
        ShapeError: an entry is not an integer >= 0.

    Example:
        >>> checked_shape(np.array([2, 3]))
        (2, 3)
    """
    if isinstance(shape, (int, np.integer)):
        raise ShapeError(f"a shape is a sequence of sizes; got the number {shape!r}. Write ({shape},) for a vector.")
    try:
        sizes = tuple(shape)
    except TypeError:
        raise ShapeError(f"a shape is a sequence of sizes; got {shown(shape)}") from None
    if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in sizes):
        raise ShapeError(f"a shape holds integers >= 0; got {shown(sizes)}")
    return tuple(int(n) for n in sizes)


def checked_box(slices: Sequence[slice], num_axes: int) -> tuple[slice, ...]:
    """One slice for each axis; missing ones at the end mean the whole axis.

    Raises:
        ShapeError: no slices, too many, or one with a step below 1 or ends that are no integers.
    """
    cuts: tuple[Any, ...] = tuple(slices) if isinstance(slices, (tuple, list)) else (None,)
    if len(cuts) > num_axes or not all(map(_cuts, cuts)):
        raise ShapeError(
            f"a box is one slice an axis, as in (slice(0, 2), slice(None)), with integers and steps >= 1; got "
            f"{shown(slices)} for {num_axes} axes. Flip or permute the result instead."
        )
    return (*cuts, *(slice(None),) * (num_axes - len(cuts)))


def _cuts(cut: object) -> bool:
    """Whether it is a slice with integers and a step >= 1."""
    if not isinstance(cut, slice):
        return False
    ends = (cut.start, cut.stop, cut.step)
    return all(e is None or isinstance(e, (int, np.integer)) for e in ends) and (cut.step is None or cut.step >= 1)
