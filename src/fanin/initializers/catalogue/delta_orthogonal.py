"""Delta-orthogonal convolution kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.initializers.base import Array, EntryMoments, Initializer, finite, one_of
from fanin.initializers.blocks import assemble, mapped_layout, moments_by_block, scaled_gain
from fanin.initializers.catalogue.orthogonal import haar_kurtosis, haar_maps
from fanin.initializers.taps import Centre, at_centre
from fanin.layout import Block, Layout, fans
from fanin.streams.keys import Key

__all__ = ["DeltaOrthogonal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaOrthogonal(Initializer):
    """A random orthogonal matrix at the centre tap of each kernel, zeros elsewhere: an isometry of any depth.

    At stride 1 the convolution acts on each position as the orthogonal matrix (out, in) alone: it keeps length if out
    >= in and is the adjoint of such a map if out < in, whatever the padding. 10,000-layer convolutional networks train
    from it.

    Args:
        gain: multiplies the matrix; ``fanin.gain(f)`` for the activation in front.
        scaled: True multiplies by max(1, sqrt(out / in)), so that q is kept where the width grows.
        centre: which tap of an even kernel, see `fanin.initializers.taps.centre_index`.

    Raises:
        ArgumentError: gain is not finite, or an unknown centre.
        LayoutError: the shape has no input axis.

    Peers: JAX refuses in > out, where this gives orthonormal rows. Its centre tap is (k - 1) // 2, like "same" here.

    Source: Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington 2018 (arXiv 1806.05393, section 2.4 and algorithm 2).

    Example:
        >>> import fanin
        >>> w = DeltaOrthogonal().sample((4, 4, 3), key=fanin.key(0, "conv.weight"))
        >>> int((abs(w) > 0).any(axis=(0, 1)).argmax()), w[:, :, ::2].any()
        (1, np.False_)
    """

    gain: float = 1.0
    scaled: bool = False
    centre: Centre = "same"

    def __post_init__(self) -> None:
        finite("gain", self.gain)
        one_of("centre", self.centre, ("same", "half"))

    def _gain(self, block: Block, fan_in: float) -> float:
        natural = 1.0 / math.sqrt(max(block.out, block.inputs) * block.num_taps)
        return scaled_gain(self.gain, natural, fan_in, self.scaled)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / (max(out, in) taps), over the taps too."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def one(block: Block) -> EntryMoments:
            n, taps, gain = max(block.out, block.inputs), block.num_taps, self._gain(block, fan_in)
            return EntryMoments(var=gain**2 / (n * taps), kurtosis=taps * haar_kurtosis(n), bound=abs(gain))

        return moments_by_block(shape, where, one)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The kernels, computed in float64 and rounded once."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def make(k: Key, block: Block, wide: str) -> Array:
            matrix = haar_maps(k, block.maps, block.out, block.inputs, wide) * self._gain(block, fan_in)
            return at_centre(matrix, block.taps, self.centre)

        return assemble(shape, where, key, dtype, make)
