"""ZerO: a network that starts from zeros and ones only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, finite, one_of
from fanin.initializers.blocks import assemble, mapped_layout, moments_by_block
from fanin.initializers.catalogue.identity import rare_value_moments
from fanin.initializers.parts import by_place, diagonal, unit_axes
from fanin.initializers.taps import Centre, at_centre, centre_taps
from fanin.layout import Block, Layout
from fanin.streams.keys import Key

__all__ = ["Hadamard", "hadamard_corner"]


def hadamard_corner(rows: int, cols: int) -> npt.NDArray[np.float64]:
    """The upper left corner of the Hadamard matrix (Sylvester's form): (-1)^(number of ones in the bits of i & j).

    Example:
        >>> hadamard_corner(4, 2).tolist()
        [[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0]]
    """
    both = np.arange(rows, dtype=np.uint64)[:, None] & np.arange(cols, dtype=np.uint64)
    for shift in (32, 16, 8, 4, 2, 1):
        both ^= both >> np.uint64(shift)
    return np.asarray(1.0 - 2.0 * (both & np.uint64(1)).astype(np.float64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard(Initializer):
    """ZerO's map: the (partial) identity where out <= in, a corner of a scaled Hadamard matrix where the width grows.

    Deterministic: the key is not used. For out > in and 2^m >= out > 2^(m - 1) the entries are +-gain 2^(-m / 2), so
    that columns have length gain if out is a power of two. Kernels hold the map at their centre tap.

    Rows of the corner repeat after the next power of two >= in, so units do start identical (`breaks_symmetry` is
    False); the method breaks the symmetry in later layers.

    Args:
        gain: multiplies the map; sqrt(2) gives the constant 2^(-(m - 1) / 2) printed in the paper, 1 that of its code.
        centre: which tap of an even kernel, see `fanin.initializers.taps.centre_index`.

    Raises:
        ArgumentError: gain is not finite, or an unknown centre.
        LayoutError: the shape has no input axis.

    Source: Zhao, Schäfer, Anandkumar 2022 (arXiv 2110.12661, algorithms 1 and 2).

    Example:
        >>> import fanin
        >>> Hadamard().sample((4, 2), key=fanin.key(0, "w")).tolist()
        [[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    gain: float = 1.0
    centre: Centre = "same"

    def __post_init__(self) -> None:
        finite("gain", self.gain)
        one_of("centre", self.centre, ("same", "half"))

    def _map(self, out: int, inputs: int) -> npt.NDArray[np.float64]:
        if out <= inputs:
            return self.gain * np.eye(out, inputs)
        entry = self.gain * 2.0 ** (-(out - 1).bit_length() / 2.0)
        return np.asarray(entry * hadamard_corner(out, inputs))

    def _entries(self, outs: npt.NDArray[np.int64], inputs: npt.NDArray[np.int64], block: Block) -> Array:
        """Entries of the map of a part."""
        if block.out <= block.inputs:
            return diagonal(self.gain)(outs, inputs, block)
        common = outs[:, None] & inputs[None, :]
        for shift in (32, 16, 8, 4, 2, 1):  # the last bit becomes the parity of all bits
            common ^= common >> shift
        entry = self.gain * 2.0 ** (-(block.out - 1).bit_length() / 2.0)
        return np.asarray(entry * (1.0 - 2.0 * (common & 1)))

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of the entries of the map, which is fixed."""
        where = mapped_layout(shape, layout, self)

        def one(block: Block) -> EntryMoments:
            if block.out <= block.inputs:
                return rare_value_moments(self.gain, 1.0 / (block.inputs * block.num_taps))
            entries = self._map(block.out, block.inputs)
            mean, second = float(entries.mean()) / block.num_taps, float((entries**2).mean()) / block.num_taps
            return EntryMoments(mean=mean, var=second - mean**2, bound=float(abs(entries[0, 0])))

        return moments_by_block(shape, where, one)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """None of them: an entry is a function of its place."""
        return None if unit_axes(mapped_layout(shape, layout, self)) is None else ()

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """A part of the maps."""
        where = mapped_layout(shape, layout, self)
        made = by_place(box, shape, where, self._entries, lambda block: centre_taps(block.taps, self.centre))
        return sampling.cast(made.astype(sampling.wide_dtype(dtype)), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The maps."""
        where = mapped_layout(shape, layout, self)

        def make(k: Key, block: Block, wide: str) -> Array:
            matrix = self._map(block.out, block.inputs).astype(wide)
            return at_centre(np.broadcast_to(matrix, (block.maps, *matrix.shape)), block.taps, self.centre)

        return assemble(shape, where, key, dtype, make)
