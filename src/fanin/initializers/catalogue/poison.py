"""NaN everywhere, to prove that every parameter is initialised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.errors import DtypeError
from fanin.initializers.base import Array, EntryMoments, Initializer
from fanin.layout import Layout
from fanin.streams.dtypes import fill_dtype, numpy_dtype
from fanin.streams.keys import Key

__all__ = ["Poison"]


@dataclass(frozen=True, slots=True)
class Poison(Initializer):
    """NaN in every entry: fill a model with it first, and whatever an initialization forgets shows in the first output.

    Not for training, so `breaks_symmetry` is False. Chainer had the same idea as its NaN initializer.

    Raises:
        DtypeError: a dtype that has no NaN.

    Example:
        >>> import fanin
        >>> Poison().sample((2,), key=fanin.key(0, "w"))
        array([nan, nan], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """NaN."""
        return EntryMoments(mean=math.nan, var=math.nan)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """NaN in every entry (in both parts of a complex one)."""
        try:
            target = fill_dtype(dtype)
        except DtypeError as error:
            raise DtypeError(f"{dtype} has no NaN to poison a parameter with; leave it out.") from error
        nan = complex(math.nan, math.nan) if target.is_complex else math.nan
        return np.full(tuple(shape), nan, numpy_dtype(target.name))
