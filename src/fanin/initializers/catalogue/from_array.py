"""Given values."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, DtypeError, ShapeError
from fanin.initializers.base import Array, EntryMoments, Initializer
from fanin.layout import Layout
from fanin.streams.keys import Key

__all__ = ["FromArray", "from_array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FromArray(Initializer):
    """Values that are given: made with `from_array`, kept as text so that the law stays hashable and turns into JSON.

    Whether units start identical is up to the array (`breaks_symmetry` is False).

    Args:
        data: the bytes of the array, C order, little-endian, in base 64.
        dtype: its NumPy dtype.
        size: its shape.

    Raises:
        ArgumentError: data that does not fit dtype and size.
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    data: str
    dtype: str
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            if (kind := self.array().dtype.kind) not in "iufc":
                raise ValueError(f"{kind!r} is no kind of numbers")
        except (ValueError, TypeError, SyntaxError, OverflowError, MemoryError) as error:
            raise ArgumentError(
                f"the data does not hold an array of shape {self.size} and dtype {self.dtype}: {error}. Make the law "
                "with from_array(array)."
            ) from error

    def array(self) -> Array:
        """The values, in a new array."""
        raw = np.frombuffer(base64.b64decode(self.data, validate=True), np.dtype(self.dtype).newbyteorder("<"))
        return raw.reshape(self.size).astype(self.dtype)

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """Raise `ShapeError` where the parameter has another shape."""
        if tuple(shape) != self.size:
            raise ShapeError(
                f"the given array has shape {self.size} and the parameter {tuple(shape)}; nothing is broadcast or "
                "transposed. Give an array of the parameter's shape."
            )

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of the entries of the array."""
        self.check(shape, layout)
        values = self.array()
        if not values.size:
            return EntryMoments(var=0.0, bound=0.0)
        wide = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
        mean = wide.mean()
        squares = np.abs(wide - mean) ** 2
        var = float(squares.mean())
        return EntryMoments(
            mean=float(mean.real),
            var=var,
            kurtosis=float((squares**2).mean()) / var**2 if var > 0.0 else math.nan,
            bound=float(np.abs(wide).max()),
        )

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The array in the asked dtype; complex values only in complex dtypes, finite ones must stay finite."""
        from fanin.streams.dtypes import numpy_dtype

        given, target = self.array(), numpy_dtype(dtype)
        if given.dtype.kind == "c" and target.kind != "c":
            raise DtypeError(f"the given array is complex and the parameter {dtype}; give its real part.")
        with np.errstate(over="ignore"):
            written = given.astype(target)
        if target.kind in "iu" and not np.array_equal(written.astype(given.dtype), given):
            raise DtypeError(f"the given array cannot be held exactly in {dtype}.")
        if not np.array_equal(np.isfinite(written.astype(np.complex128)), np.isfinite(given.astype(np.complex128))):
            raise DtypeError(f"the given array holds numbers beyond the range of {dtype}; use a wider dtype.")
        return written

    def __str__(self) -> str:
        return f"FromArray({self.dtype}, {self.size})"


def from_array(array: npt.ArrayLike) -> FromArray:
    """The law that gives these values: a checkpoint, a hand-made kernel.

    Args:
        array: any number array; it is copied.

    Raises:
        ArgumentError: not an array of numbers.

    Example:
        >>> import fanin
        >>> from_array([[1.0, 2.0]]).sample((1, 2), key=fanin.key(0, "w"))
        array([[1., 2.]], dtype=float32)
    """
    values = np.asarray(array)
    if values.dtype.kind not in "iufc" or values.dtype.hasobject:
        raise ArgumentError(
            f"from_array takes an array of NumPy numbers; got dtype {values.dtype}. Convert it to float32."
        )
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    return FromArray(
        data=base64.b64encode(little.tobytes()).decode("ascii"), dtype=values.dtype.name, size=tuple(values.shape)
    )
