"""Sparse maps: each unit keeps a few incoming weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges, finite, one_of
from fanin.initializers.blocks import assemble, mapped_layout, maps_inside, moments_by_block, part_keys
from fanin.initializers.parts import in_own_order, overlaps, sides, unit_axes
from fanin.layout import Block, Layout
from fanin.streams.dtypes import fill_dtype
from fanin.streams.keys import Key
from fanin.streams.sampling import sample
from fanin.streams.sparse import choose, scatter_into
from fanin.streams.spec import Draw

__all__ = ["Sparse", "sparse_lasagne", "sparse_torch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse(Initializer):
    """Zeros, but for a fixed number of normal weights for each unit (or input), at places chosen at random.

    A unit with k incoming weights of std 1 sees the same input variance at any width, and its weights are large enough
    to differ from those of other units.

    Args:
        connections: weights kept for each unit, >= 1; Martens takes 15.
        kept: fraction kept instead: floor(kept n).
        zeroed: fraction zeroed instead: n - ceil(zeroed n) are kept.
        std: of the weights kept, >= 0.
        per: "unit": `connections` incoming weights for each output unit (Martens); "input": that many outgoing weights
            for each input, so a unit's in-degree varies and can be 0.

    Raises:
        ArgumentError: not exactly one of connections, kept, zeroed; or numbers out of range.
        ShapeError: fewer inputs than connections.

    Peers: torch's sparse_ takes the fraction of *zeros* and counts per input, Lasagne's Sparse takes the fraction of
    *non-zeros* and counts per unit, with the same argument name: `sparse_torch`, `sparse_lasagne`. torch draws the
    places from the global generator even where one is given.

    Source: Martens 2010, "Deep learning via Hessian-free optimization" (ICML, section 5); Sutskever et al. 2013 (ICML,
    section 3.1).

    Example:
        >>> import fanin
        >>> w = Sparse(connections=3).sample((4, 10), key=fanin.key(0, "w"))
        >>> (w != 0).sum(axis=1).tolist()
        [3, 3, 3, 3]
    """

    connections: int | None = None
    kept: float | None = None
    zeroed: float | None = None
    std: float = 1.0
    per: Literal["unit", "input"] = "unit"

    def __post_init__(self) -> None:
        finite("std", self.std, low=0.0)
        one_of("per", self.per, ("unit", "input"))
        if sum(x is not None for x in (self.connections, self.kept, self.zeroed)) != 1:
            raise ArgumentError(
                f"Sparse takes exactly one of connections=, kept= or zeroed=; got {self.connections}, {self.kept}, "
                f"{self.zeroed}. Sparse(connections=15) is Martens' choice."
            )
        if self.connections is not None and (isinstance(self.connections, bool) or self.connections < 1):
            raise ArgumentError(f"connections must be an integer >= 1; got {self.connections!r}")
        for name, value in (("kept", self.kept), ("zeroed", self.zeroed)):
            if value is not None and not 0.0 <= finite(name, value) <= 1.0:
                raise ArgumentError(f"{name} is a fraction, 0 <= {name} <= 1; got {value!r}")

    def count(self, choices: int) -> int:
        """Weights kept out of `choices`.

        Raises:
            ShapeError: more are asked for than there are.
        """
        if self.kept is not None:
            return int(self.kept * choices)
        if self.zeroed is not None:
            return choices - math.ceil(self.zeroed * choices)
        if self.connections is None or self.connections > choices:
            raise ShapeError(
                f"{self} wants {self.connections} connections and there are {choices} places; ask for at most "
                f"{choices}, or give the fraction kept=."
            )
        return self.connections

    def _choices(self, block: Block) -> int:
        return block.inputs * block.num_taps if self.per == "unit" else block.out

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance std^2 kept / n, kurtosis 3 n / kept."""
        where = mapped_layout(shape, layout, self)

        def one(block: Block) -> EntryMoments:
            share = self.count(self._choices(block)) / self._choices(block)
            return EntryMoments(var=self.std**2 * share, kurtosis=3.0 / share if share and self.std else math.nan)

        return moments_by_block(shape, where, one)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Those of the weights that are chosen from."""
        return unit_axes(mapped_layout(shape, layout, self), per_input=self.per == "input")

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """Units of the weight (inputs, where each input's outputs are chosen)."""
        where = mapped_layout(shape, layout, self)
        made = self._parts(box, shape, where, key, "complex64" if fill_dtype(dtype).is_complex else "float32")
        return sampling.cast(in_own_order(made.astype(sampling.wide_dtype(dtype)), box, where), dtype)

    def _parts(self, box: Ranges, shape: Sequence[int], layout: Layout, key: Key, dtype: str) -> Array:
        """(batch, out, in, taps) of a box; a part has rows of its own, and so has a group where inputs choose."""
        batch, (first, last), (low, high) = sides(box, layout)
        found, per_unit, taps = layout.blocks(shape), self.per == "unit", layout.blocks(shape)[0].num_taps
        together, groups = (layout.groups, 1) if per_unit else (1, layout.groups)
        stretches = [
            (k, block, g) for k, block in zip(part_keys(key, len(found)), found, strict=True) for g in range(groups)
        ]
        made: Array = np.zeros((batch[1] - batch[0], last - first, high - low, taps), dtype)
        at = 0
        for which, a, b in overlaps([block.out * together for _, block, _ in stretches], first, last):
            k, block, group = stretches[which]
            for row, entry in enumerate(range(*batch)):
                if per_unit:
                    start, count = entry * block.out * together + a, b - a
                else:
                    start, count = ((entry * groups + group) * block.inputs + low) * taps, (high - low) * taps
                rows = self._rows(k, block, start, start + count, dtype)
                own = rows if per_unit else rows.T
                made[row, at : at + b - a] = own.reshape(b - a, high - low, taps)
            at += b - a
        return made

    def _rows(self, key: Key, block: Block, first: int, last: int, dtype: str) -> Array:
        """What units first ... last - 1 of a part (or inputs) have at each place."""
        choices = self._choices(block)
        units, kept = block.size // choices, self.count(choices)
        rows: Array = np.zeros((last - first, choices), dtype)
        request = Draw(kind="normal", width=self.std)
        if rows.dtype.kind == "c":
            places = choose(key, units, choices, kept, first=first, last=last)
            drawn = sample(request, key, (units, kept), dtype=dtype, box=(slice(first, last),))
            np.put_along_axis(rows, places, drawn, axis=1)
        else:
            scatter_into(rows, request, key, kept, first=first, units=units)
        return rows

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The normal values of the chosen places, zeros elsewhere."""
        if self.joint_axes(shape, layout) is not None:
            return self.part([(0, n) for n in shape], shape, layout, key, dtype)
        where = mapped_layout(shape, layout, self)
        return assemble(shape, where, key, dtype, self._make)

    def _make(self, key: Key, block: Block, wide: str) -> Array:
        narrow = "complex64" if wide == "complex128" else "float32"
        rows = self._rows(key, block, 0, block.size // self._choices(block), narrow).astype(wide)
        if self.per == "unit":
            return rows.reshape(block.maps, block.out, block.inputs, block.num_taps)
        return np.moveaxis(rows.reshape(block.maps, block.inputs, block.num_taps, block.out), 3, 1)

    def write_into(
        self, weight: Array, key: Key, layout: Layout | None = None, box: Ranges | None = None, of: Sequence[int] = ()
    ) -> bool:
        """Zeros and the chosen numbers, bit for bit those of `values`."""
        if box is not None:
            where = mapped_layout(of, layout, self)
            weight[...] = in_own_order(self._parts(box, of, where, key, "float32"), box, where)
            return True
        where = mapped_layout(weight.shape, layout, self)
        views, found = maps_inside(weight, where), where.blocks(weight.shape)
        if views is None:
            return False
        shapes = [(-1, v.shape[2]) if self.per == "unit" else (-1, v.shape[1]) for v in views]
        turned = views if self.per == "unit" else [v.transpose(0, 2, 1) for v in views]
        matrices = [v.reshape(shape) for v, shape in zip(turned, shapes, strict=True)]
        if not all(np.may_share_memory(m, weight) for m in matrices):
            return False
        for matrix, k, block in zip(matrices, part_keys(key, len(found)), found, strict=True):
            request = Draw(kind="normal", width=self.std)
            scatter_into(matrix, request, k, self.count(self._choices(block)))
        return True


def sparse_torch(*, sparsity: float, std: float = 0.01) -> Sparse:
    """Torch's ``sparse_``: a fraction `sparsity` of each input's outgoing weights is zero, the rest normal.

    Args:
        sparsity: fraction zeroed, in [0, 1].
        std: of the rest.

    Source: torch.nn.init.sparse_, which cites Martens 2010 and counts along the other axis.

    Example:
        >>> sparse_torch(sparsity=0.9).count(50)
        5
    """
    return Sparse(zeroed=sparsity, std=std, per="input")


def sparse_lasagne(*, sparsity: float = 0.1, std: float = 0.01) -> Sparse:
    """Lasagne's ``Sparse``: a fraction `sparsity` of each unit's incoming weights is normal, the rest zero.

    Args:
        sparsity: fraction kept, in [0, 1].
        std: of the kept ones.

    Source: Lasagne's init.Sparse, after Martens 2010.

    Example:
        >>> sparse_lasagne().count(50)
        5
    """
    return Sparse(kept=sparsity, std=std)
