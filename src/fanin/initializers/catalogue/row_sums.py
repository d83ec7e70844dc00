"""Biases that take what a map makes of a constant input: a shift of the input, folded into the bias."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, finite
from fanin.initializers.blocks import mapped_layout
from fanin.layout import Layout, to_blocks
from fanin.streams.keys import Key
from fanin.streams.keys import key as stream_key

__all__ = ["RowSums"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSums(Initializer):
    """shift + factor x the sum of each unit's incoming weights: W (x + factor) = W x + factor (row sums of W).

    The weights are those that another parameter is given under the same seed; they are drawn again, so the two must be
    planned together. With a law of its own for the weight, the bias would no longer fit.

    Args:
        law: of the weight.
        of: qualified name of the weight, which names its stream.
        size: shape of the weight.
        layout: what the axes of the weight mean; None for torch's (out, in, *taps).
        factor: constant that is added to every input of the map.
        shift: constant that is added to the result.

    Raises:
        ArgumentError: a factor or shift that is not finite, or no law.
        ShapeError: the bias does not have one number for each unit of the weight.

    Accuracy: sums in float64 of the float32 weights (float64 ones for a float64 bias).

    Example:
        >>> import fanin, numpy as np
        >>> from fanin.initializers import Orthogonal
        >>> w = Orthogonal().sample((4, 8), key=fanin.key(0, "fc.weight"))
        >>> law = RowSums(law=Orthogonal(), of="fc.weight", size=(4, 8), factor=0.5)
        >>> b = law.sample((4,), key=fanin.key(0, "fc.bias"))
        >>> bool(np.allclose(w @ np.full(8, 0.5) , b))
        True
    """

    breaks_symmetry: ClassVar[bool] = False
    law: Initializer
    of: str
    size: tuple[int, ...]
    layout: Layout | None = None
    factor: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        finite("factor", self.factor)
        finite("shift", self.shift)
        if not isinstance(self.law, Initializer):
            raise ArgumentError(f"law is an initializer; got {self.law!r}")

    def _inputs(self) -> int:
        """Weights that are summed for one unit."""
        (block, *others) = mapped_layout(self.size, self.layout, self).blocks(self.size)
        if others or block.maps > 1:
            raise ShapeError(f"{self} needs a weight that is one map; got {len(others) + 1} parts of {block.maps} maps")
        return block.inputs * block.num_taps

    def check(self, shape: Sequence[int], layout: Layout | None = None) -> None:
        """Raise `ShapeError` where the bias does not have one number for each unit."""
        inputs = self._inputs()
        if math.prod(shape) * inputs != math.prod(self.size) or len(tuple(shape)) != 1:
            raise ShapeError(
                f"{self} gives one number for each unit of a weight of shape {self.size}; got a bias of shape "
                f"{tuple(shape)}"
            )
        self.law.check(self.size, self.layout)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Those of a sum of that many weights; the variance is exact for independent entries and Haar maps."""
        self.check(shape, layout)
        one, inputs = self.law.moments(self.size, self.layout), self._inputs()
        mean = self.shift + self.factor * inputs * one.mean
        bound = None if one.bound is None else abs(self.shift) + abs(self.factor) * inputs * one.bound
        return EntryMoments(mean=mean, var=self.factor**2 * inputs * one.var, bound=bound)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The sums, of the weight's own stream."""
        where, wide = mapped_layout(self.size, self.layout, self), sampling.wide_dtype(dtype)
        weight = self.law.sample(self.size, key=stream_key(key.seed, self.of), layout=self.layout, dtype=wide)
        (block,) = to_blocks(weight, where)
        exact = np.complex128 if block.dtype.kind == "c" else np.float64
        sums = self.shift + self.factor * block.astype(exact).sum(axis=(0, 2, 3))
        return sampling.cast(sums.astype(block.dtype), dtype)
