"""ICNR: sub-pixel convolutions without checkerboards at the start."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, one_of
from fanin.initializers.blocks import mapped_layout
from fanin.initializers.parts import part_of
from fanin.layout import Layout
from fanin.streams.keys import Key

__all__ = ["ICNR"]


@dataclass(frozen=True, slots=True)
class ICNR(Initializer):
    """A law whose output channels are copied factor^d times, for a convolution that a pixel shuffle follows.

    The d axes that the shuffle enlarges then start with nearest-neighbour upsampling and no checkerboard. The copies of
    a channel start identical (`breaks_symmetry` is False); the shuffle sends them to different pixels, whose gradients
    differ.

    Args:
        law: the law of the distinct channels.
        factor: upscaling factor of the shuffle, >= 1.
        channels: "torch": the copies of a channel lie next to each other (PixelShuffle); "tensorflow": the channels are
            the inner axis (depth_to_space).

    Raises:
        ArgumentError: factor < 1, or an unknown order.
        ShapeError: the output channels are not a multiple of factor^d.

    Source: Aitken, Ledig, Theis, Caballero, Wang, Shi 2017 (arXiv 1707.02937, section 3).

    Example:
        >>> import fanin
        >>> from fanin.initializers import he_normal
        >>> w = ICNR(he_normal(), 2).sample((8, 3, 3, 3), key=fanin.key(0, "conv.weight"))
        >>> bool((w[0] == w[3]).all()), bool((w[0] == w[4]).any())
        (True, False)
    """

    breaks_symmetry: ClassVar[bool] = False
    law: Initializer
    factor: int
    channels: Literal["torch", "tensorflow"] = "torch"

    def __post_init__(self) -> None:
        one_of("channels", self.channels, ("torch", "tensorflow"))
        if isinstance(self.factor, bool) or not isinstance(self.factor, int) or self.factor < 1:
            raise ArgumentError(f"factor must be an integer >= 1; got {self.factor!r}")

    @property
    def uncorrelated_inputs(self) -> bool:  # type: ignore[override]
        """As the law's."""
        return self.law.uncorrelated_inputs

    def _distinct(self, shape: Sequence[int], layout: Layout | None) -> tuple[tuple[int, ...], Layout, int]:
        """Shape of the distinct channels, the layout, and the copies of each."""
        where = mapped_layout(shape, layout, self)
        copies = self.factor ** len(where.tap_axes)
        axis = where.out_axes[0]
        refused = not where.tap_axes or where.groups > 1 or len(where.out_axes) > 1 or bool(where.view)
        if refused or shape[axis] % copies:
            raise ShapeError(
                f"{self} needs an ungrouped convolution whose output channels are a multiple of {copies}; got shape "
                f"{tuple(shape)}. The convolution in front of a pixel shuffle has channels x factor^2 outputs."
            )
        small = list(shape)
        small[axis] //= copies
        return tuple(small), dataclasses.replace(where, parts=1), copies

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Those of the law of the distinct channels."""
        small, where, _ = self._distinct(shape, layout)
        return self.law.moments(small, where)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """The law's."""
        small, where, _ = self._distinct(shape, layout)
        return self.law.joint_axes(small, where)

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The distinct channels that the box needs, copied."""
        small, where, copies = self._distinct(shape, layout)
        axis, count = where.out_axes[0], small[where.out_axes[0]]
        wanted = np.arange(*box[axis])
        wanted = wanted // copies if self.channels == "torch" else wanted % count
        first, last = int(wanted.min()), int(wanted.max()) + 1
        inside = [(first, last) if a == axis else ends for a, ends in enumerate(box)]
        channels = part_of(self.law, inside, small, where, key, sampling.dtype_name(dtype))
        return np.take(channels, wanted - first, axis=axis)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The distinct channels, copied."""
        small, where, copies = self._distinct(shape, layout)
        channels = self.law.sample(small, key=key, layout=where, dtype=sampling.dtype_name(dtype))
        axis = where.out_axes[0]
        if self.channels == "torch":
            return np.repeat(channels, copies, axis=axis)
        repeats = [1] * len(small)
        repeats[axis] = copies
        return np.tile(channels, repeats)
