"""Orthogonal maps, Haar distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, finite
from fanin.initializers.blocks import (
    assemble,
    mapped_layout,
    maps_inside,
    moments_by_block,
    part_keys,
    scaled_gain,
)
from fanin.layout import Block, Layout, fans, from_blocks
from fanin.streams.keys import Key
from fanin.streams.orthogonal import haar, haar_into

__all__ = ["Orthogonal", "haar_kurtosis", "haar_maps"]


def haar_kurtosis(n: int) -> float:
    """Kurtosis of one entry of a Haar orthogonal n x n matrix: 3 n / (n + 2).

    Its square is Beta(1/2, (n - 1)/2), so E w^2 = 1 / n and E w^4 = 3 / (n (n + 2)).

    Example:
        >>> haar_kurtosis(1), round(haar_kurtosis(10**6), 4)
        (1.0, 3.0)
    """
    return 3.0 * n / (n + 2.0)


def haar_maps(key: Key, maps: int, out: int, inputs: int, dtype: str) -> Array:
    """A batch (maps, out, inputs) of Haar matrices: orthonormal rows where out <= inputs, columns otherwise."""
    return haar(key, maps, out, inputs, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthogonal(Initializer):
    r"""Each map a random orthogonal matrix: orthonormal rows where out <= in, columns otherwise, times gain.

    A map here is one part (q, k, v; a gate), expert or group of the weight with its taps counted as inputs, (out, in x
    taps). Square maps keep the length of every vector, forward and backward, and random ones do so at any depth: all
    singular values of a product of orthogonal maps are 1.

    Args:
        gain: multiplies the map; ``fanin.gain(f)`` for the activation in front of it.
        scaled: False: the plain law, whose entries have std = gain / sqrt(max(out, in)), so a widening map shrinks the
            second moment by in / out. True: times max(1, sqrt(out / in)), so entries have std = gain / sqrt(fan_in)
            whatever the aspect ratio and q is kept (the stride of a transposed convolution counts in fan_in).

    Raises:
        ArgumentError: gain is not finite.
        LayoutError: the shape has no input axis.

    Accuracy: |Q'Q - 1| < 1e-14 before rounding to the dtype of the result. Complex dtypes give unitary maps.

    Peers: the plain law is that of torch and Keras, though those see the four gates of an LSTM, or q, k and v, as one
    map, of which no gate is orthogonal (Keras' recurrent gates: spectral norm 0.86), and neither does half precision.
    Lasagne and MXNet take U of an SVD without fixing signs, which is not Haar (mean entries up to 0.44 at n = 2);
    MXNet's default gain is 1.414 and starts from uniform noise. A flattened convolution kernel is no isometry: see
    `DeltaOrthogonal` and `ConvOrthogonal`.

    Source: Saxe, McClelland, Ganguli 2013 (arXiv 1312.6120, section 3); Mezzadri 2007 (arXiv math-ph/0609050, section
    5) for the sign fix.

    Example:
        >>> import fanin, numpy as np
        >>> w = Orthogonal().sample((3, 5), key=fanin.key(0, "w"), dtype="float64")
        >>> bool(np.allclose(w @ w.T, np.eye(3)))
        True
        >>> Orthogonal().std_for((256, 64)), Orthogonal(scaled=True).std_for((256, 64))
        (0.0625, 0.125)
    """

    gain: float = 1.0
    scaled: bool = False

    def __post_init__(self) -> None:
        finite("gain", self.gain)

    def _gain(self, block: Block, fan_in: float) -> float:
        natural = 1.0 / math.sqrt(max(block.out, block.inputs * block.num_taps))
        return scaled_gain(self.gain, natural, fan_in, self.scaled)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / max(out, in) of the (scaled) gain."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def one(block: Block) -> EntryMoments:
            n, gain = max(block.out, block.inputs * block.num_taps), self._gain(block, fan_in)
            return EntryMoments(var=gain**2 / n, kurtosis=haar_kurtosis(n), bound=abs(gain))

        return moments_by_block(shape, where, one)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """All but the axis of a stack of maps (experts): one map at a time is made; None where there is none."""
        where = mapped_layout(shape, layout, self)
        if len(where.batch_axes) != 1 or where.view:
            return None
        return tuple(a for a in range(where.rank) if a not in where.batch_axes)

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """Some maps of a stack."""
        where = mapped_layout(shape, layout, self)
        fan_in, found, stack = fans(shape, where).fan_in, where.blocks(shape), box[where.batch_axes[0]]
        first, last = (end * where.groups for end in stack)
        parts = []
        for k, block in zip(part_keys(key, len(found)), found, strict=True):
            sizes = block.out, block.inputs * block.num_taps
            maps = haar(k, block.maps, *sizes, dtype=sampling.wide_dtype(dtype), first=first, last=last)
            flat = maps * self._gain(block, fan_in)
            parts.append(flat.reshape(last - first, block.out, block.inputs, block.num_taps))
        return sampling.cast(from_blocks(parts, [b - a for a, b in box], where), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The maps, computed in float64 and rounded once."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def make(k: Key, block: Block, wide: str) -> Array:
            flat = haar_maps(k, block.maps, block.out, block.inputs * block.num_taps, wide) * self._gain(block, fan_in)
            return flat.reshape(block.maps, block.out, block.inputs, block.num_taps)

        return assemble(shape, where, key, dtype, make)

    def write_into(
        self, weight: Array, key: Key, layout: Layout | None = None, box: Ranges | None = None, of: Sequence[int] = ()
    ) -> bool:
        """The maps, made in the weight's own memory in float32."""
        whole = weight.shape if box is None else of
        where = mapped_layout(whole, layout, self)
        views, found = maps_inside(weight, where), where.blocks(whole)
        if views is None:
            return False
        fan_in, first = fans(whole, where).fan_in, 0 if box is None else box[where.batch_axes[0]][0] * where.groups
        for view, k, block in zip(views, part_keys(key, len(found)), found, strict=True):
            haar_into(view, k, gain=self._gain(block, fan_in), first=first, of=block.maps)
        return True
