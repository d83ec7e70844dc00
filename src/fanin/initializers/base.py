"""What every initializer is: a frozen law that says its moments, draws from a key, and turns into a dict and back."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError
from fanin.initializers import sampling
from fanin.layout import Layout, assert_layout
from fanin.streams.arguments import assert_key, checked_shape
from fanin.streams.keys import Key
from fanin.streams.sampling import sample as streams_sample
from fanin.streams.spec import Draw
from fanin.text.reading import shown

__all__ = ["TAG", "EntryMoments", "Initializer", "Ranges"]

Array = npt.NDArray[Any]
Ranges = Sequence[tuple[int, int]]
"""A box of a whole array: (first, after the last) along each axis."""
TAG = "initializer"  # the key of a law's dict that holds the name of its class


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryMoments:
    """Moments of one entry of a weight, over the draw and over the entries; of the realised law, never of a parent.

    Attributes:
        mean: mean.
        var: E (w - mean)^2.
        kurtosis: E (w - mean)^4 / var^2 (3 for a Gaussian, 9/5 for a uniform law); nan where var is 0 or it is not
            known.
        bound: smallest known number that no abs(w) exceeds; None where there is none.
    """

    mean: float = 0.0
    var: float
    kurtosis: float = math.nan
    bound: float | None = None

    @property
    def std(self) -> float:
        """Square root of var."""
        return math.sqrt(self.var)


class Initializer(abc.ABC):
    """A law for the initial values of one parameter: plain data, serialisable, the same numbers for the same key.

    A subclass is a frozen dataclass. It says its `moments`, and then either how one entry is drawn (`draw`, for laws
    whose entries are independent and equally distributed) or how the whole array is made (`values`).

    Attributes:
        breaks_symmetry: False where two units of a layer could start identical, and so would stay identical under
            training. Such a law is meant for biases, norm scales, output weights or maps whose input already differs.
        uncorrelated_inputs: False where the incoming weights of one unit depend on each other.
        copies: how many units one draw makes: mirrored units come in pairs, so n of them vary as n / 2 do.
    """

    __slots__ = ()
    breaks_symmetry: ClassVar[bool] = True
    uncorrelated_inputs: ClassVar[bool] = True
    copies: ClassVar[int] = 1

    # ------------------------------------------------------------------ what a law defines
    @abc.abstractmethod
    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Moments of one entry of a weight of the given shape.

        Args:
            shape: shape of the whole weight.
            layout: what its axes mean; torch's (out, in, *taps) where none is given.

        Raises:
            ShapeError: the law has no meaning for this shape.
            LayoutError: the layout does not fit the shape.
        """

    def draw(self, shape: Sequence[int], layout: Layout | None = None) -> Draw | None:
        """What an engine must draw; None where entries are not independent and equally distributed (see `values`)."""
        return None

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The whole array of a structured law (one whose `draw` is None)."""
        raise NotImplementedError(f"{type(self).__name__} defines neither draw() nor values()")

    def write_into(
        self, weight: Array, key: Key, layout: Layout | None = None, box: Ranges | None = None, of: Sequence[int] = ()
    ) -> bool:
        """Write the values of a structured law into a float32 array, where it can do so faster than by `values`.

        Args:
            weight: float32, any strides.
            key: the stream.
            layout: what the axes mean.
            box: which part of the whole weight the array is, whole along `joint_axes`; None for all of it.
            of: shape of the whole weight, where it is a part.

        Returns:
            Whether it did; False leaves the array as it was. The values are those of `values` to 1e-6 of their std.
        """
        return False

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Axes along which entries depend on each other; a part that is whole along these is made by itself (`part`).

        Args:
            shape: shape of the whole weight.
            layout: what its axes mean.

        Returns:
            () for independent entries, and for a function of the place; None where only the whole can be made.

        Example:
            >>> from fanin.initializers import Centred, Normal, Orthogonal
            >>> Normal(std=1.0).joint_axes((6, 4)), Centred(Normal(std=1.0)).joint_axes((6, 4))
            ((), (1,))
            >>> Orthogonal().joint_axes((6, 4)) is None
            True
        """
        by_itself = self.only_value is not None or self.draw(shape, layout) is not None
        return () if by_itself and not (layout and layout.view) else None

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The values of a part of the whole array: the bits of the whole, from the part's own numbers.

        Args:
            box: (first, after the last) along each axis; whole along `joint_axes`.
            shape: shape of the whole weight.
            layout: what its axes mean.
            key: the stream.
            dtype: as in `sample`.
        """
        if self.only_value is not None:
            return sampling.full([b - a for a, b in box], self.only_value, dtype)
        request = self.draw(shape, layout)
        if request is None:
            raise NotImplementedError(f"{type(self).__name__} has joint_axes() and no part()")
        return streams_sample(request, key, shape, dtype=dtype, box=[slice(*ends) for ends in box])

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """Raise whatever would make `sample` fail for this shape, before anything is drawn or written."""
        self.moments(shape, layout)

    @property
    def only_value(self) -> float | None:
        """The number that a constant law gives every entry; None for all other laws."""
        return None

    # ------------------------------------------------------------------ what every law can do
    def sample(
        self, shape: Sequence[int], *, key: Key, layout: Layout | None = None, dtype: npt.DTypeLike | str = "float32"
    ) -> Array:
        """The values of a parameter as a NumPy array.

        Drawn in float32 (float64 for a float64 target) and rounded to nearest even, so the bfloat16 values are the
        rounded float32 values. Complex: E abs(w - mean)^2 is the variance of the law.

        Args:
            shape: shape of the whole parameter.
            key: the stream to draw from, ``fanin.key(seed, name)``; nothing else enters.
            layout: what the axes mean; torch's (out, in, *taps) where none is given.
            dtype: "float64", "float32", "bfloat16", "float16", "complex64" or "complex128".

        Raises:
            ShapeError: the law has no meaning for this shape.
            LayoutError: the layout does not fit the shape.
            DtypeError: the law cannot be represented in that dtype.

        Example:
            >>> import fanin
            >>> from fanin.initializers import Normal
            >>> Normal(std=0.5).sample((2, 2), key=fanin.key(0, "w")).dtype
            dtype('float32')
        """
        assert_key(key)
        assert_layout(layout)
        size = checked_shape(shape)
        name = sampling.dtype_name(dtype)
        if layout is not None and layout.view:
            own = dataclasses.replace(layout, view=())
            return self.sample(layout.viewed(size), key=key, layout=own, dtype=name).reshape(size)
        self.check(size, layout)
        request = self.draw(size, layout)
        if request is not None:
            return streams_sample(request, key, size, dtype=name)
        return self.values(size, layout, key, name)

    def fill_(self, tensor: Any, *, key: Key, layout: Layout | None = None) -> Any:
        """Write the law's values into a torch tensor, in place; the same values as `sample` with that key.

        Args:
            tensor: a torch tensor or parameter of any floating or complex dtype, device and memory format.
            key: the stream to draw from.
            layout: what the axes mean; torch's (out, in, *taps) where none is given.

        Returns:
            The tensor.
        """
        from fanin.tensors.fill import fill_  # when it is needed: sampling NumPy arrays takes none of its engines

        return fill_(tensor, self, key=key, layout=layout)

    def std_for(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """Standard deviation of the realised law for a weight of this shape: the root mean square about the mean.

        Example:
            >>> from fanin.initializers import he_normal
            >>> round(he_normal().std_for((256, 800)), 6)
            0.05
        """
        return self.moments(shape, layout).std

    def mean_for(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """Mean of the realised law for a weight of this shape."""
        return self.moments(shape, layout).mean

    def bound_for(self, shape: Sequence[int], layout: Layout | None = None) -> float | None:
        """A number that no absolute value exceeds, or None."""
        return self.moments(shape, layout).bound

    def kurtosis_for(self, shape: Sequence[int], layout: Layout | None = None) -> float:
        """E (w - mean)^4 / var^2 of one entry; nan where it is not known or the variance is 0."""
        return self.moments(shape, layout).kurtosis

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `fanin.initializers.from_dict` is its inverse.

        Example:
            >>> from fanin.initializers import Normal
            >>> Normal(std=0.02).to_dict()
            {'initializer': 'Normal', 'std': 0.02, 'mean': 0.0}
        """
        data = {f.name: _encode(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        return {TAG: type(self).__name__, **data}

    def __str__(self) -> str:
        shown = [
            f"{f.name}={_short(getattr(self, f.name))}"
            for f in fields(self)  # type: ignore[arg-type]
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


_LARGEST = 1e75


def finite(name: str, value: float, *, low: float = -math.inf) -> float:
    """The value, if it is a finite number >= low of at most 1e75, so that its fourth power is finite.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not abs(value) <= _LARGEST:
        raise ArgumentError(f"{name} must be a finite number of at most {_LARGEST:g}; got {shown(value)}")
    if value < low:
        raise ArgumentError(f"{name} must be >= {low:g}; got {value!r}")
    return float(value)


def one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value, if it is among the allowed ones.

    Raises:
        ArgumentError: it is not.
    """
    if value not in allowed:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
    return value


def _encode(value: Any) -> Any:
    if isinstance(value, (Initializer, Layout)):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_short(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    return str(value) if isinstance(value, Initializer) else repr(value)
