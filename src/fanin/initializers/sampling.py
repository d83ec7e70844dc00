"""NumPy arrays for laws that are not drawn entry by entry: the rule of dtypes in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import DtypeError
from fanin.streams.dtypes import fill_dtype, numpy_dtype, rounded

__all__ = ["cast", "dtype_name", "full", "source_dtype", "wide_dtype"]

Array = npt.NDArray[Any]


def dtype_name(dtype: Any) -> str:
    """Name of a dtype given as a name or as a NumPy, torch or JAX dtype.

    Example:
        >>> dtype_name(np.float32), dtype_name("torch.bfloat16"), dtype_name(int)
        ('float32', 'bfloat16', 'int64')
    """
    text = str(dtype).removeprefix("torch.")
    try:
        return str(np.dtype(text if isinstance(dtype, str) else dtype).name)
    except TypeError:
        return text


def wide_dtype(dtype: str) -> str:
    """The float64 or complex128 in which a structured law is computed before it is rounded to `dtype`.

    Raises:
        DtypeError: weights cannot be drawn in `dtype`.
    """
    return "complex128" if fill_dtype(dtype).is_complex else "float64"


def source_dtype(dtype: str) -> str:
    """The dtype in which the numbers behind `dtype` are drawn: a half is the rounded float32 number.

    Raises:
        DtypeError: weights cannot be drawn in `dtype`.
    """
    target = fill_dtype(dtype)
    return target.name if target.double or target.is_complex else "float32"


def cast(values: Array, dtype: str) -> Array:
    """Values computed in float64 or complex128, rounded to nearest even in the named dtype.

    Raises:
        DtypeError: weights cannot be drawn in `dtype`, or it cannot hold these values.
    """
    target = fill_dtype(dtype)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > target.largest:
        raise DtypeError(
            f"the largest value is {largest:.3g} and the largest {target.name} is {target.largest:.3g}; take a smaller "
            "law or a wider dtype."
        )
    if target.is_complex:
        return values.astype(numpy_dtype(dtype))
    return rounded(np.ascontiguousarray(values), dtype)


def full(shape: Sequence[int], value: float, dtype: str) -> Array:
    """An array of one value, in any number dtype that holds it (integers: exactly).

    Raises:
        DtypeError: the dtype is not one of numbers, or cannot hold the value.
    """
    try:
        target = numpy_dtype(dtype)
    except TypeError as error:
        raise DtypeError(f"NumPy knows no dtype {dtype!r}; use float32 and convert it yourself.") from error
    if dtype != "bfloat16" and target.kind not in "iufc":
        raise DtypeError(f"a constant needs a number dtype; got {dtype!r}. Use float32, or an integer dtype.")
    if target.kind in "iu":
        limits = np.iinfo(target)
        if value != int(value) or not limits.min <= value <= limits.max:
            raise DtypeError(f"{dtype} cannot hold {value!r} exactly; use a floating dtype.")
        return np.full(tuple(shape), int(value), target)
    return cast(np.full(tuple(shape), value, np.complex128 if target.kind == "c" else np.float64), dtype)
