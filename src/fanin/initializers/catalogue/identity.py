"""Identity maps, dense and convolutional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.errors import ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, finite, one_of
from fanin.initializers.blocks import assemble, mapped_layout, moments_by_block
from fanin.initializers.parts import by_place, diagonal, unit_axes
from fanin.initializers.taps import Centre, at_centre, centre_taps
from fanin.layout import Block, Layout
from fanin.streams.keys import Key

__all__ = ["Dirac", "Identity", "rare_value_moments"]


def rare_value_moments(value: float, share: float) -> EntryMoments:
    """Moments of an entry that is `value` with probability `share` and 0 otherwise.

    Example:
        >>> rare_value_moments(1.0, 0.5)
        EntryMoments(mean=0.5, var=0.25, kurtosis=1.0, bound=1.0)
    """
    spread = share * (1.0 - share)
    var = value**2 * spread
    kurtosis = (1.0 - 3.0 * spread) / spread if var > 0.0 else math.nan
    return EntryMoments(mean=value * share, var=var, kurtosis=kurtosis, bound=abs(value))


def _eyes(block: Block, gain: float, dtype: str) -> Array:
    eye = gain * np.eye(block.out, block.inputs, dtype=dtype)
    return np.broadcast_to(eye, (block.maps, block.out, block.inputs))


def _share(block: Block) -> float:
    return min(block.out, block.inputs) / (block.out * block.inputs * block.num_taps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(Initializer):
    """gain on the diagonal of each map (part, expert), zeros elsewhere; rectangular maps copy what fits.

    For recurrent weights with ReLU (IRNN: Identity for weight_hh, Normal(std=0.001) for the rest) and for residual
    maps. Where out > in the further units start at zero, all alike, so `breaks_symmetry` is False.

    Args:
        gain: the diagonal.

    Raises:
        ArgumentError: gain is not finite.
        ShapeError: a convolution kernel (use `Dirac`).

    Source: Le, Jaitly, Hinton 2015 (arXiv 1504.00941, section 2).

    Example:
        >>> import fanin
        >>> Identity(gain=2.0).sample((2, 3), key=fanin.key(0, "w"))
        array([[2., 0., 0.], [0., 2., 0.]], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    gain: float = 1.0

    def __post_init__(self) -> None:
        finite("gain", self.gain)

    def _layout(self, shape: Sequence[int], layout: Layout | None) -> Layout:
        where = mapped_layout(shape, layout, self)
        if where.tap_axes:
            raise ShapeError(f"{self} fills matrices; the shape {tuple(shape)} has kernel taps. Use Dirac for kernels.")
        return where

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of an entry that is gain with probability min(out, in) / (out in)."""
        where = self._layout(shape, layout)
        return moments_by_block(shape, where, lambda block: rare_value_moments(self.gain, _share(block)))

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """None of them: an entry is a function of its place."""
        return None if unit_axes(self._layout(shape, layout)) is None else ()

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A part of the maps."""
        where = self._layout(shape, layout)
        made = by_place(box, shape, where, diagonal(self.gain), lambda block: np.ones(1))
        return sampling.cast(made.astype(sampling.wide_dtype(dtype)), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The diagonal maps."""
        where = self._layout(shape, layout)
        return assemble(shape, where, key, dtype, lambda k, block, wide: _eyes(block, self.gain, wide)[..., None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirac(Initializer):
    """The kernel that copies its input: gain at the centre tap of channels (c, c), zeros elsewhere, group by group.

    With ``padding="same"``, any kernel size and out = in the layer starts as the identity. Where out > in the further
    channels start at zero, all alike, so `breaks_symmetry` is False.

    Args:
        gain: the value.
        centre: "same" ((k - 1) // 2, the identity under ``padding="same"``) or "half" (k // 2, torch's choice, the
            identity under ``padding=k // 2``); they differ for even k only.

    Raises:
        ArgumentError: gain is not finite, or an unknown centre.

    Peers: torch's and Paddle's dirac_ put the tap at k // 2, so an even kernel with ``padding="same"`` shifts the image
    by one pixel. Their `groups` argument is the layout's here.

    Source: Zagoruyko and Komodakis 2017 (arXiv 1706.00388, section 3).

    Example:
        >>> import fanin
        >>> Dirac().sample((1, 1, 4), key=fanin.key(0, "w"))
        array([[[0., 1., 0., 0.]]], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    gain: float = 1.0
    centre: Centre = "same"

    def __post_init__(self) -> None:
        finite("gain", self.gain)
        one_of("centre", self.centre, ("same", "half"))

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of an entry that is gain with probability min(out, in) / (out in taps)."""
        where = mapped_layout(shape, layout, self)
        return moments_by_block(shape, where, lambda block: rare_value_moments(self.gain, _share(block)))

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """None of them: an entry is a function of its place."""
        return None if unit_axes(mapped_layout(shape, layout, self)) is None else ()

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A part of the maps."""
        where = mapped_layout(shape, layout, self)
        made = by_place(box, shape, where, diagonal(self.gain), lambda block: centre_taps(block.taps, self.centre))
        return sampling.cast(made.astype(sampling.wide_dtype(dtype)), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The kernels."""
        where = mapped_layout(shape, layout, self)
        return assemble(
            shape,
            where,
            key,
            dtype,
            lambda k, block, wide: at_centre(_eyes(block, self.gain, wide), block.taps, self.centre),
        )
