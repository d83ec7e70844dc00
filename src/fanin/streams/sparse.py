"""Which inputs each unit keeps: k of n, without replacement, by Floyd's algorithm on the unit's own words."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fanin.errors import ShapeError
from fanin.streams.keys import Key
from fanin.streams.sampling import unit_words

__all__ = ["SPARSE_PURPOSE", "choose"]

SPARSE_PURPOSE = "sparse"


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
    if not (0 <= kept <= inputs <= 1 << 31 and inputs >= 1 and 0 <= first <= last <= units):
        raise ShapeError(
            f"choose needs 0 <= kept <= inputs <= 2**31 and 0 <= first <= last <= units; got kept={kept}, "
            f"inputs={inputs}, units={units}, first={first}, last={last}"
        )
    words = unit_words(key.for_purpose(SPARSE_PURPOSE), (units, kept), box=(slice(first, last),)).astype(np.uint64)
    chosen = np.empty(words.shape, np.int64)
    for t in range(kept):
        j = inputs - kept + t
        r = ((words[:, t] * np.uint64(j + 1)) >> np.uint64(32)).astype(np.int64)
        taken = (chosen[:, :t] == r[:, None]).any(axis=1)
        chosen[:, t] = np.where(taken, j, r)
    return chosen
