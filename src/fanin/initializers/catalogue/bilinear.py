"""Linear interpolation as a kernel, for transposed convolutions that upsample."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges
from fanin.initializers.blocks import assemble, mapped_layout, pooled
from fanin.initializers.parts import by_place, diagonal, unit_axes
from fanin.layout import Block, Layout
from fanin.streams.keys import Key

__all__ = ["Bilinear", "interpolation_taps"]


def interpolation_taps(size: int, factor: int) -> npt.NDArray[np.float64]:
    """The taps max(0, 1 - |x - (size - 1) / 2| / factor) of linear interpolation by a factor.

    They reproduce constants and straight lines where size >= 2 factor - 1.

    Raises:
        ShapeError: a kernel too short for the factor.

    Example:
        >>> interpolation_taps(4, 2), interpolation_taps(3, 2)
        (array([0.25, 0.75, 0.75, 0.25]), array([0.5, 1. , 0.5]))
    """
    if size < 2 * factor - 1:
        raise ShapeError(
            f"linear interpolation by {factor} needs at least {2 * factor - 1} taps; got {size}. Take a kernel of "
            f"{2 * factor} taps and padding {factor // 2}, or give the factor this kernel is for."
        )
    distance = np.abs(np.arange(size) - (size - 1) / 2.0)
    return np.asarray(np.maximum(0.0, 1.0 - distance / factor))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bilinear(Initializer):
    """Linear (bilinear, trilinear) interpolation, channel by channel: a transposed convolution that upsamples smoothly.

    Tap x of an axis of k taps gets max(0, 1 - |x - (k - 1) / 2| / factor). Input channel c goes to output channel c of
    its group and nowhere else, so with or without groups each channel is upsampled by itself. Further output channels
    are zero, all alike (`breaks_symmetry` is False).

    Args:
        factor: upsampling factor of each axis. Where it is not given: the stride of a transposed layout, otherwise the
            factor ceil(k / 2) that k taps can carry.

    Raises:
        ArgumentError: a factor below 1.
        ShapeError: a kernel shorter than 2 factor - 1, or no kernel at all.

    Peers: the Bilinear of MXNet and Paddle divides indices with / in Python 3 and so gives wrong rows (k = 4: last row
    0.0625, 0.094, 0, -0.031), and both fill every pair of channels, so that without groups all channels are summed.
    Caffe's formula is this one for k = 2 factor - factor % 2 only.

    Source: Long, Shelhamer, Darrell 2015 (arXiv 1411.4038, section 3.3).

    Example:
        >>> import fanin
        >>> upsampling = fanin.Layout.conv_transposed(1, stride=2)
        >>> Bilinear().sample((1, 1, 4), key=fanin.key(0, "up.weight"), layout=upsampling)
        array([[[0.25, 0.75, 0.75, 0.25]]], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    factor: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        factors = self.factor if isinstance(self.factor, tuple) else (1 if self.factor is None else self.factor,)
        if any(isinstance(f, bool) or not isinstance(f, int) or f < 1 for f in factors):
            raise ArgumentError(f"factor must be an integer >= 1 or one for each axis; got {self.factor!r}")

    def _factors(self, layout: Layout, taps: tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(self.factor, int):
            return (self.factor,) * len(taps)
        if self.factor is not None:
            if len(self.factor) != len(taps):
                raise ShapeError(
                    f"{self} has {len(self.factor)} factors and the kernel {len(taps)} axes; give one for each"
                )
            return self.factor
        if layout.transposed and math.prod(layout.strides()) > 1:
            return layout.strides()
        return tuple((k + 1) // 2 for k in taps)

    def _kernel(self, layout: Layout, block: Block) -> npt.NDArray[np.float64]:
        """The taps of one channel, flat."""
        axes = [interpolation_taps(k, f) for k, f in zip(block.taps, self._factors(layout, block.taps), strict=True)]
        return functools.reduce(np.multiply.outer, axes).reshape(-1)

    def _layout(self, shape: Sequence[int], layout: Layout | None) -> Layout:
        where = mapped_layout(shape, layout, self)
        if not where.tap_axes:
            raise ShapeError(f"{self} fills kernels and the shape {tuple(shape)} has no tap axes; use Identity there.")
        return where

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of the entries of the kernel, which is fixed."""
        where = self._layout(shape, layout)

        def one(block: Block) -> EntryMoments:
            kernel = self._kernel(where, block)
            share = min(block.out, block.inputs) / (block.out * block.inputs)
            mean = share * float(kernel.mean())
            var = share * float((kernel**2).mean()) - mean**2
            return EntryMoments(mean=mean, var=var, bound=float(kernel.max()))

        return pooled((block.size, one(block)) for block in where.blocks(shape))

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """None of them: an entry is a function of its place."""
        return None if unit_axes(self._layout(shape, layout)) is None else ()

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A part of the maps."""
        where = self._layout(shape, layout)
        made = by_place(box, shape, where, diagonal(1.0), lambda block: self._kernel(where, block))
        return sampling.cast(made.astype(sampling.wide_dtype(dtype)), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The kernels."""
        where = self._layout(shape, layout)

        def make(k: Key, block: Block, wide: str) -> Array:
            kernel = np.eye(block.out, block.inputs)[..., None] * self._kernel(where, block)
            return np.broadcast_to(kernel.astype(wide), (block.maps, *kernel.shape))

        return assemble(shape, where, key, dtype, make)
