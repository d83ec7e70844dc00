"""Which inputs each unit keeps: k of n, without replacement, by Floyd's algorithm on the unit's own words."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ShapeError
from fanin.streams.cpu import cpu_engine
from fanin.streams.keys import Key
from fanin.streams.sampling import sample, unit_words
from fanin.streams.spec import Draw

__all__ = ["SPARSE_PURPOSE", "choose", "scatter_into"]

SPARSE_PURPOSE = "sparse"
_TAKEN = 1 << 22  # marks of units that are chosen for together
_VALUES = 1 << 18  # numbers that are placed together
_WORTH_COMPILING = 1 << 18
_TILE = 1 << 19  # numbers of a few units that lie across memory: 2 MiB in float32
_WIDTH, _NARROWEST = 128, 16  # units of a tile


def choose(
    key: Key, units: int, inputs: int, kept: int, *, first: int = 0, last: int | None = None
) -> npt.NDArray[np.int64]:
    """For each unit `kept` distinct inputs out of `inputs`, every set equally likely, in the order of choice.

    Step t = 0 .. kept - 1 of unit u looks at j = inputs - kept + t and takes r = floor(x (j + 1) / 2**32), where x is
    element u kept + t of the key's "sparse" stream; if r was taken already it takes j instead. So a unit's inputs
    depend on (key, unit, kept) alone, and no array over all inputs is sorted.

    Args:
        key: the parameter's own key; the "sparse" stream is derived from it.
        units: number of units.
        inputs: choices of each, 1 <= inputs <= 2**31.
        kept: 0 <= kept <= inputs.
        first: first unit wanted.
        last: end of the units wanted; all the rest where not given.

    Returns:
        int64, shape (last - first, kept).

    Raises:
        ShapeError: sizes out of range.

    Accuracy: the multiplication maps 2**32 words to j + 1 values, so probabilities are off by up to (j + 1) / 2**32.

    Source: Bentley and Floyd 1987, "Programming pearls: a sample of brilliance", CACM 30(9).

    Example:
        >>> from fanin.streams.keys import key
        >>> choice = choose(key(0, "fc1.weight"), 1000, 10, 3)
        >>> choice.shape, int(choice.min()), int(choice.max())
        ((1000, 3), 0, 9)
    """
    last = units if last is None else last
    _assert_sizes(units, inputs, kept, first, last)
    words = unit_words(key.for_purpose(SPARSE_PURPOSE), (units, kept), box=(slice(first, last),)).astype(np.uint64)
    chosen = np.empty(words.shape, np.int64)
    for a in range(0, len(words), rows := max(1, _TAKEN // inputs)):
        _floyd(words[a : a + rows], inputs, chosen[a : a + rows])
    return chosen


def _assert_sizes(units: int, inputs: int, kept: int, first: int, last: int) -> None:
    if not (0 <= kept <= inputs <= 1 << 31 and inputs >= 1 and 0 <= first <= last <= units):
        raise ShapeError(
            f"a sparse weight needs 0 <= kept <= inputs <= 2**31 and 0 <= first <= last <= units; got kept={kept}, "
            f"inputs={inputs}, units={units}, first={first}, last={last}"
        )


def _floyd(words: npt.NDArray[np.uint64], inputs: int, chosen: npt.NDArray[np.int64]) -> None:
    units, kept = words.shape
    taken, unit = np.zeros((units, inputs), np.bool_), np.arange(units)
    for t in range(kept):
        j = inputs - kept + t
        r = ((words[:, t] * np.uint64(j + 1)) >> np.uint64(32)).astype(np.int64)
        r[taken[unit, r]] = j
        taken[unit, r] = True
        chosen[:, t] = r


def scatter_into(
    out: npt.NDArray[Any], draw: Draw, key: Key, kept: int, *, first: int = 0, units: int | None = None
) -> None:
    """Overwrite a matrix (units, inputs) with zeros and, where `choose` puts them, `kept` numbers of `draw` a unit.

    Number t of unit u is element u kept + t of the value stream, and goes to ``choose(...)[u, t]``.

    Args:
        out: real, any strides.
        draw: law of the numbers kept; always drawn in float32, then converted.
        key: the parameter's key.
        kept: numbers of each unit.
        first: the unit that the first row is.
        units: number of all units; those of `out` where it holds all.

    Raises:
        ShapeError: more are asked for than there are inputs.

    Example:
        >>> from fanin.streams.keys import key
        >>> out = np.ones((3, 8), np.float32)
        >>> scatter_into(out, Draw(kind="normal"), key(0, "w"), 2)
        >>> (out != 0).sum(axis=1).tolist()
        [2, 2, 2]
    """
    rows, inputs = out.shape
    units = rows if units is None else units
    _assert_sizes(units, inputs, kept, first, first + rows)
    step = max(_WIDTH, _VALUES // max(kept, 1) // _WIDTH * _WIDTH)
    kernels = _kernels() if out.size >= _WORTH_COMPILING else None
    clear = kernels is not None and out.strides[1] == out.itemsize  # row by row, while the row is in the cache
    across = kernels is not None and not clear and out.T.flags.c_contiguous and inputs * _NARROWEST <= _TILE
    if not (across or clear):
        out[...] = 0
    for a in range(0, rows, step):
        b = min(a + step, rows)
        box = (slice(first + a, first + b),)
        values = sample(draw, key, (units, kept), box=box).astype(out.dtype, copy=False)
        if kernels is None:
            places = choose(key, units, inputs, kept, first=first + a, last=first + b)
            np.put_along_axis(out[a:b], places, values, axis=1)
            continue
        words = unit_words(key.for_purpose(SPARSE_PURPOSE), (units, kept), box=box)
        kind = np.uint16 if out.itemsize == 2 else out.dtype
        if across:
            kernels.place_across(out.T.view(kind), a, values.view(kind), words, min(_WIDTH, _TILE // inputs))
        else:
            kernels.place(out[a:b].view(kind), values.view(kind), words, clear)


@functools.cache
def _kernels() -> Any:
    """The compiled kernels, or None where numba is not to be had."""
    if cpu_engine() != "numba":
        return None
    from fanin.streams import numba_sparse

    return numba_sparse
