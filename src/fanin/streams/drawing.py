"""What every engine must give, bit for bit: the numbers of any elements, written with the two references."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.streams import reference, reference64
from fanin.streams.dtypes import rounded
from fanin.streams.keys import Key
from fanin.streams.law import Law

__all__ = ["draw_at"]


def draw_at(law: Law, key: Key, index: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """The real numbers of the given global elements, rounded to the law's dtype: the definition of every engine."""
    if law.double:
        return rounded(_affine(_unit64(law, reference64.words64_at(key, index)), law, np.float64), law.dtype.part)
    return rounded(_affine(_unit32(law, reference.words_at(key, index)), law, np.float32), law.dtype.part)


def _unit32(law: Law, word: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    if law.kind == "uniform":
        return reference.uniform(word)
    if law.window is not None:
        low, size = np.uint64(law.window.low), np.uint64(law.window.size)
        word = (low + ((word.astype(np.uint64) * size) >> np.uint64(32))).astype(np.uint32)
    return reference.normal(word)


def _unit64(law: Law, word: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    if law.kind == "uniform":
        return reference64.uniform64(word)
    if law.window is not None:
        word = np.uint64(law.window.low) + reference64.multiply_high(word, law.window.size)
    return reference64.normal64(word)


def _affine(unit: npt.NDArray[Any], law: Law, real: type[np.floating[Any]]) -> npt.NDArray[Any]:
    inside = np.minimum(np.maximum(unit, real(law.lower)), real(law.upper))
    return np.asarray(inside * real(law.width) + real(law.shift))
