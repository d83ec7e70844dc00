"""Convolution kernels that are isometries with every tap in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.initializers.base import Array, EntryMoments, Initializer, finite
from fanin.initializers.blocks import assemble, mapped_layout, moments_by_block, scaled_gain
from fanin.initializers.catalogue.orthogonal import haar_maps
from fanin.layout import Block, Layout, fans
from fanin.streams.keys import Key
from fanin.streams.sampling import unit_words

__all__ = ["ConvOrthogonal", "isometric_kernels"]


def _projectors(key: Key, maps: int, width: int, dtype: str) -> Array:
    """Random orthogonal projectors (maps, width, width): each column of a Haar matrix is kept with probability 1/2."""
    basis = haar_maps(key, maps, width, width, dtype)
    kept = (unit_words(key.for_purpose("kept"), (maps, 1, width)) >> np.uint32(31)).astype(bool)
    chosen = np.where(kept, basis, 0.0)
    projectors: Array = chosen @ chosen.conj().swapaxes(1, 2)
    return projectors


def _lengthened(kernel: Array, projector: Array, axis: int) -> Array:
    """The kernel, made one tap longer along a tap axis: its output passes through P + (1 - P) * shift."""
    stays = np.einsum("mpo,mo...->mp...", projector, kernel)
    moves = kernel - stays
    padding = [(0, 0)] * kernel.ndim
    padding[axis] = (0, 1)
    grown: Array = np.pad(stays, padding)
    padding[axis] = (1, 0)
    grown += np.pad(moves, padding)
    return grown


def isometric_kernels(key: Key, maps: int, out: int, inputs: int, taps: tuple[int, ...], dtype: str) -> Array:
    """Kernels (maps, out, inputs, num_taps) that are isometries (adjoints of isometries if out < inputs).

    Starts from a Haar matrix and multiplies, for each axis and each further tap, with P + (1 - P) * shift of a random
    orthogonal projector P, which is an isometry for every P. For square kernels each pair of factors is the 2 x 2 block
    kernel of the paper's algorithm 1; the form by axes also covers other ranks and kernels that are not square.

    Source: Xiao et al. 2018 (arXiv 1806.05393, algorithm 1); the ranks of the projectors are left open there and
    binomial here.

    Example:
        >>> import fanin
        >>> isometric_kernels(fanin.key(0, "w"), 1, 4, 2, (3, 2), "float64").shape
        (1, 4, 2, 6)
    """
    if out < inputs:  # the adjoint of a convolution has its axes exchanged, its taps reversed, its values conjugated
        kernel = isometric_kernels(key, maps, inputs, out, taps, dtype)
        return np.ascontiguousarray(kernel.swapaxes(1, 2)[..., ::-1].conj())
    kernel = haar_maps(key, maps, out, inputs, dtype).reshape(maps, out, inputs, *(1 for _ in taps))
    for step in range(max(taps, default=1) - 1):
        for axis, size in enumerate(taps):
            if step < size - 1:
                stream = key.for_purpose(f"projector {step} {axis}")
                kernel = _lengthened(kernel, _projectors(stream, maps, out, dtype), 3 + axis)
    return kernel.reshape(maps, out, inputs, math.prod(taps))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvOrthogonal(Initializer):
    """A convolution kernel with all taps in use that is an exact isometry at stride 1 and circular padding.

    For out >= in the convolution keeps the length of every image; for out < in it is the adjoint of such a map (W W' =
    1). Zero padding cuts off what leaves the image, so there it is exact in the interior only; `DeltaOrthogonal` is
    exact with any padding.

    Args:
        gain: multiplies the kernel.
        scaled: True multiplies by max(1, sqrt(out / in)), so that q is kept where the width grows.

    Raises:
        ArgumentError: gain is not finite.
        LayoutError: the shape has no input axis.

    Accuracy: singular values of the circular convolution are 1 within 1e-13 before rounding, for kernels of any rank,
    even and unequal sizes.

    Peers: TensorFlow 1 had it for in <= out and square kernels, with zero padding left to the reader; none has it now.

    Source: Xiao, Bahri, Sohl-Dickstein, Schoenholz, Pennington 2018 (arXiv 1806.05393, algorithm 1); Kautsky and
    Turcajova 1994 for the factorisation.

    Example:
        >>> import fanin, numpy as np
        >>> w = ConvOrthogonal().sample((4, 3, 3), key=fanin.key(0, "conv.weight"), dtype="float64")
        >>> response = np.fft.fft(w, 8, axis=2).transpose(2, 0, 1)          # one matrix a frequency
        >>> bool(np.allclose(np.linalg.svd(response, compute_uv=False), 1.0))
        True
    """

    gain: float = 1.0
    scaled: bool = False

    def __post_init__(self) -> None:
        finite("gain", self.gain)

    def _gain(self, block: Block, fan_in: float) -> float:
        natural = 1.0 / math.sqrt(max(block.out, block.inputs) * block.num_taps)
        return scaled_gain(self.gain, natural, fan_in, self.scaled)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance gain^2 / (max(out, in) taps), over the taps too."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def one(block: Block) -> EntryMoments:
            gain = self._gain(block, fan_in)
            return EntryMoments(var=gain**2 / (max(block.out, block.inputs) * block.num_taps), bound=abs(gain))

        return moments_by_block(shape, where, one)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The kernels, computed in float64 and rounded once."""
        where = mapped_layout(shape, layout, self)
        fan_in = fans(shape, where).fan_in

        def make(k: Key, block: Block, wide: str) -> Array:
            kernels = isometric_kernels(k, block.maps, block.out, block.inputs, block.taps, wide)
            return kernels * self._gain(block, fan_in)

        return assemble(shape, where, key, dtype, make)
