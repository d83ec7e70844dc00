"""Row-centred variants of any law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.errors import ArgumentError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, Ranges
from fanin.initializers.blocks import mapped_layout, pooled
from fanin.initializers.parts import joined, part_of, row_sums, unit_axes
from fanin.layout import Block, Layout, from_blocks, to_blocks
from fanin.streams.keys import Key

__all__ = ["Centred"]


@dataclass(frozen=True, slots=True)
class Centred(Initializer):
    """A law whose incoming weights are made to sum to zero for each unit, so the mean of the inputs has no effect.

    The mean of each unit's n = in x taps incoming weights is subtracted and the rest multiplied by sqrt(n / (n - 1)),
    which gives back the variance. After an activation of mean m, unit i of a plain layer gets the constant m * sum_j
    w_ij, the same for every input: it is what drives sigmoid and ReLU networks to nearly equal outputs for different
    inputs, and `Centred` removes it. The gain that keeps the variance is then 1 / sqrt(Var f) in place of 1 / sqrt(E
    f^2).

    Args:
        law: any law whose weights of one unit are uncorrelated with each other.
        compensated: False leaves out the factor sqrt(n / (n - 1)).

    Raises:
        ArgumentError: a law whose weights of one unit depend on each other.
        ShapeError: a unit with a single incoming weight.

    Accuracy: sums are zero in float64 before the weights are rounded to their dtype.

    Source: Huang et al. 2017 (arXiv 1710.02338, centred weight normalisation, eq. 5), for the constraint at the start
    only; the compensation is Bessel's.

    Example:
        >>> import fanin
        >>> from fanin.initializers import glorot_normal
        >>> w = Centred(glorot_normal()).sample((3, 50), key=fanin.key(0, "w"), dtype="float64")
        >>> bool(abs(w.sum(axis=1)).max() < 1e-14)
        True
    """

    uncorrelated_inputs: ClassVar[bool] = False
    law: Initializer
    compensated: bool = True

    def __post_init__(self) -> None:
        if not self.law.uncorrelated_inputs:
            raise ArgumentError(
                f"Centred needs a law whose weights of one unit are uncorrelated; those of {self.law} are not, so "
                "subtracting their mean would change the map in a way that no factor repairs. Use an elementwise law "
                "or Orthogonal."
            )

    @property
    def breaks_symmetry(self) -> bool:  # type: ignore[override]
        """As the law does."""
        return self.law.breaks_symmetry

    def _terms(self, block: Block) -> int:
        terms = block.inputs * block.num_taps
        if terms < 2:
            raise ShapeError(
                f"{self} subtracts the mean of a unit's incoming weights, and there is only {terms}: nothing would be "
                "left."
            )
        return terms

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Variance of the law (times 1 - 1/n if not compensated), mean 0."""
        where = mapped_layout(shape, layout, self)
        base = self.law.moments(shape, where)
        independent = self.law.draw(shape, where) is not None
        return pooled((b.size, self._of(base, self._terms(b), independent)) for b in where.blocks(shape))

    def _of(self, base: EntryMoments, n: int, independent: bool) -> EntryMoments:
        left = 1.0 - 1.0 / n
        # cumulants add: the fourth one of w_1 - mean(w) is that of w times the sum of its coefficients to the fourth
        excess = (base.kurtosis - 3.0) * (left**4 + (n - 1.0) / n**4) / left**2 if independent else math.nan
        factor = 1.0 / math.sqrt(left) if self.compensated else 1.0
        spread = None if base.bound is None else 2.0 * left * base.bound * factor
        return EntryMoments(var=base.var * left * factor**2, kurtosis=3.0 + excess, bound=spread)

    def joint_axes(self, shape: Sequence[int], layout: Layout | None = None) -> tuple[int, ...] | None:
        """Those of a unit's incoming weights, and the law's."""
        where = mapped_layout(shape, layout, self)
        own = unit_axes(where)
        return None if own is None else joined([own, self.law.joint_axes(shape, where)])

    def part(self, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """Units of the weight: the law's values, centred in float64 and rounded once."""
        where = mapped_layout(shape, layout, self)
        drawn = part_of(self.law, box, shape, where, key, sampling.source_dtype(dtype))
        axes, terms = unit_axes(where) or (), self._terms(where.blocks(shape)[0])
        return sampling.cast(self._centred(drawn.astype(sampling.wide_dtype(dtype)), axes, terms), dtype)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The law's values, centred in float64 and rounded once."""
        if self.joint_axes(shape, layout) is not None:
            return self.part([(0, n) for n in shape], shape, layout, key, dtype)
        where = mapped_layout(shape, layout, self)
        wide = sampling.wide_dtype(dtype)
        drawn = self.law.sample(shape, key=key, layout=where, dtype=sampling.source_dtype(dtype)).astype(wide)
        found = zip(to_blocks(drawn, where), where.blocks(shape), strict=True)
        blocks = [self._centred(b, (2, 3), self._terms(block)) for b, block in found]
        return sampling.cast(from_blocks(blocks, shape, where), dtype)

    def _centred(self, weights: Array, axes: tuple[int, ...], terms: int) -> Array:
        """The weights less the mean over some axes, summed in an order that the axes alone decide."""
        last = tuple(range(weights.ndim - len(axes), weights.ndim))
        turned = np.moveaxis(weights, axes, last)
        sums = row_sums(turned.reshape(*turned.shape[: last[0]], terms))
        rest: Array = weights - np.expand_dims(sums / terms, axes)
        return rest * np.sqrt(terms / (terms - 1.0)) if self.compensated else rest
