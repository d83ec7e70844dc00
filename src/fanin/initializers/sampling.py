"""From a draw and a key to a NumPy array of any dtype: the rule of dtypes in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import DtypeError, MissingDependencyError
from fanin.streams import reference
from fanin.streams.keys import Key
from fanin.streams.spec import Draw

__all__ = ["cast", "dtype_name", "full", "sample"]

Array = npt.NDArray[Any]

_FLOATING = ("float64", "float32", "bfloat16", "float16")
_COMPLEX = {"complex64": "float32", "complex128": "float64"}


def dtype_name(dtype: npt.DTypeLike | str) -> str:
    """Name of a dtype given as a name, a NumPy dtype or a torch dtype.

    Example:
        >>> dtype_name(np.float32), dtype_name("bfloat16")
        ('float32', 'bfloat16')
    """
    text = str(dtype).removeprefix("torch.") if not isinstance(dtype, type) else np.dtype(dtype).name
    aliases = {
        "half": "float16",
        "float": "float32",
        "double": "float64",
        "cfloat": "complex64",
        "cdouble": "complex128",
    }
    return aliases.get(text, text)


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError as error:
        raise MissingDependencyError(
            "NumPy has no bfloat16 of its own and ml_dtypes, which adds it, cannot be imported. Sample float32 and "
            "round it where it is stored, or pip install ml_dtypes."
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16


def cast(values: Array, dtype: str) -> Array:
    """Values rounded to nearest even in the named floating or complex dtype."""
    if dtype == "bfloat16":
        return values.astype(_bfloat16())
    if dtype not in _FLOATING and dtype not in _COMPLEX:
        raise DtypeError(
            f"random values are drawn in {', '.join((*_FLOATING, *_COMPLEX))}; got dtype {dtype!r}. "
            "Sample float32 and convert or quantise it yourself."
        )
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def full(shape: Sequence[int], value: float, dtype: str) -> Array:
    """An array of one value in any dtype that holds it (integers: exactly)."""
    if dtype == "bfloat16":
        return cast(np.full(tuple(shape), value, np.float32), dtype)
    try:
        target = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(
            f"NumPy knows no dtype {dtype!r}; allowed: {', '.join((*_FLOATING, *_COMPLEX))}, integers"
        ) from error
    if target.kind in "iub" and not float(value) == float(np.array(value).astype(target)):
        raise DtypeError(f"{dtype} cannot hold {value!r} exactly; use a floating dtype")
    if target.kind not in "iubfc":
        raise DtypeError(f"a constant needs a number dtype; got {dtype!r}")
    return np.full(tuple(shape), value, target)


def sample(draw: Draw, key: Key, shape: Sequence[int], *, dtype: str = "float32") -> Array:
    """Values of an elementwise law, drawn and then rounded; complex has independent parts of half the variance."""
    if dtype in _COMPLEX:
        width = draw.width * math.sqrt(0.5)
        real, imaginary = (
            _drawn(
                Draw(kind=draw.kind, width=width, shift=shift, lower=draw.lower, upper=draw.upper), k, shape, "float64"
            )
            for k, shift in ((key, draw.shift), (key.for_purpose("imaginary"), 0.0))
        )
        return cast(real + 1j * imaginary, dtype)
    return cast(_drawn(draw, key, shape, dtype), dtype)


def _drawn(draw: Draw, key: Key, shape: Sequence[int], dtype: str) -> Array:
    precision: Any = np.float64 if dtype == "float64" else np.float32
    word = reference.words(key, 0, math.prod(shape))
    if draw.kind == "truncated_normal":
        unit: Array = _truncated(word, draw.lower, draw.upper)
    else:
        unit = reference.uniform(word) if draw.kind == "uniform" else reference.normal(word)
    values: Array = unit.astype(precision) * precision(draw.width) + precision(draw.shift)
    return values.reshape(tuple(shape))


def _truncated(word: npt.NDArray[np.uint32], lower: float, upper: float) -> Array:
    from scipy.special import ndtr

    first = math.ceil(float(ndtr(lower)) * 2.0**32 - 0.5)
    count = math.floor(float(ndtr(upper)) * 2.0**32 - 0.5) - first + 1
    inside = np.uint64(first) + ((word.astype(np.uint64) * np.uint64(count)) >> np.uint64(32))
    cut: Array = np.clip(reference.normal(inside.astype(np.uint32)), np.float32(lower), np.float32(upper))
    return cut
