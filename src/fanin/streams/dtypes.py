"""The dtypes that can be filled, and how drawn numbers are rounded to each.

Numbers are drawn in float32 (float64 for float64 and complex128), then rounded to nearest even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import DtypeError

__all__ = ["FillDtype", "bfloat16_bits", "fill_dtype", "memory_dtype", "numpy_dtype", "rounded"]


@dataclass(frozen=True, slots=True)
class FillDtype:
    """A dtype that streams can fill.

    Attributes:
        name: "float32", "bfloat16", ...
        part: dtype of the real numbers that it is made of.
        double: drawn in float64 from 64-bit words; otherwise in float32 from 32-bit words.
        is_complex: real and imaginary part come from two streams, each with std / sqrt(2).
        largest: its largest finite number.
    """

    name: str
    part: str
    double: bool
    is_complex: bool
    largest: float


_TABLE = {
    d.name: d
    for d in (
        FillDtype("float32", "float32", False, False, float(np.finfo(np.float32).max)),
        FillDtype("float64", "float64", True, False, float(np.finfo(np.float64).max)),
        FillDtype("bfloat16", "bfloat16", False, False, float.fromhex("0x1.fep127")),
        FillDtype("float16", "float16", False, False, 65504.0),
        FillDtype("complex64", "float32", False, True, float(np.finfo(np.float32).max)),
        FillDtype("complex128", "float64", True, True, float(np.finfo(np.float64).max)),
    )
}


def fill_dtype(dtype: Any) -> FillDtype:
    """The table entry of a dtype given by name or as the NumPy, torch or JAX object.

    Raises:
        DtypeError: weights cannot be drawn in it (integers, booleans, quantised and 8-bit floats).

    Example:
        >>> fill_dtype("torch.bfloat16").name, fill_dtype(np.float64).double
        ('bfloat16', True)
    """
    name = str(dtype).removeprefix("torch.")
    if name not in _TABLE and dtype is not None:  # NumPy reads None as float64
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = getattr(dtype, "__name__", name)
    if name not in _TABLE:
        raise DtypeError(
            f"weights cannot be drawn in dtype {name!r}; allowed are {', '.join(_TABLE)}. Draw in float32 and convert "
            "(quantise) the result yourself."
        )
    return _TABLE[name]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a table name; bfloat16 is that of ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def memory_dtype(part: str) -> np.dtype[Any]:
    """What an engine writes for the real dtype `part`: the bits of a half as uint16, else the numbers themselves."""
    return np.dtype({"bfloat16": "uint16", "float16": "uint16"}.get(part, part))


def bfloat16_bits(x: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """The upper 16 bits of finite float32 numbers, rounded to nearest even.

    Example:
        >>> bfloat16_bits(np.array([1.0, 1.00390625, 1.01171875], np.float32))      # the last two are ties
        array([16256, 16256, 16258], dtype=uint16)
    """
    bits = x.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.asarray((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16), np.uint16)


def rounded(x: npt.NDArray[Any], part: str) -> npt.NDArray[Any]:
    """`x`, drawn in float32 or float64, in the dtype `part`; on the way to a half it is rounded to float32 first."""
    if part == "float64":
        return x
    single = x.astype(np.float32, copy=False)
    if part == "bfloat16":
        return bfloat16_bits(single).view(numpy_dtype(part))
    return single.astype(part, copy=False)
