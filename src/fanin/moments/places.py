"""Places of one dimension that are unlike others: a class token among patches, new channels beside reused ones.

A kernel averages over the places along an axis. A norm that divides each place by its own size must not be averaged:
its gradient is E[g^2 / x^2] over places, which differs from E[g^2] / E[x^2] as soon as places differ in size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.moments.kernel import Array

__all__ = ["Places", "divided", "joined", "made", "mixed", "multiplied", "only"]

_ALIKE = 0.02  # relative spread of the sizes below which places count as alike


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Mean square at each index of one dimension, over the mean square of the whole.

    Attributes:
        dim: the dimension, from 0.
        energies: one number for each index; their mean is 1.
    """

    dim: int
    energies: Array

    def moved(self, dim: int) -> Places:
        """The same along another dimension."""
        return Places(dim, self.energies)

    def part(self, start: int, size: int) -> tuple[float, Places | None]:
        """Mean square of a run of places over that of the whole, and how the run itself is divided."""
        run = self.energies[start : start + size]
        share = float(run.mean())
        return share, made(self.dim, run)


def made(dim: int, energies: Array) -> Places | None:
    """Places of these (unscaled) mean squares; None where they are alike.

    Example:
        >>> made(1, np.array([1.0, 3.0])).energies.tolist(), made(1, np.ones(4))
        ([0.5, 1.5], None)
    """
    mean = float(energies.mean())
    if not (np.isfinite(mean) and mean > 0.0) or float(np.ptp(energies)) <= _ALIKE * mean:
        return None
    return Places(dim, energies / mean)


def joined(dim: int, parts: Sequence[tuple[int, float, Places | None]]) -> Places | None:
    """Places of tensors joined along a dimension: (places, mean square, own places) of each."""
    runs = [second * _energies(own, dim, count) for count, second, own in parts]
    return made(dim, np.concatenate(runs))


def _energies(places: Places | None, dim: int, count: int) -> Array:
    return places.energies if places is not None and places.dim == dim else np.ones(count)


def only(dim: int, size: int, start: int, part: int) -> Places | None:
    """Places of a tensor that is zero but for a run along a dimension."""
    energies = np.zeros(size)
    energies[start : start + part] = 1.0
    return made(dim, energies)


def mixed(terms: Sequence[tuple[float, Places | None]]) -> Places | None:
    """Places of a sum of uncorrelated tensors of one shape: (mean square, places) of each.

    None where they are unlike along different dimensions.
    """
    unlike = [p for _, p in terms if p is not None]
    if not unlike or len({p.dim for p in unlike}) > 1:
        return None
    ones = np.ones(unlike[0].energies.size)
    return made(unlike[0].dim, sum((max(s, 0.0) * (ones if p is None else p.energies) for s, p in terms), 0.0 * ones))


def multiplied(factors: Sequence[Places | None]) -> tuple[float, Places | None]:
    """Places of a product of independent tensors of one shape, and what they make of the mean square.

    The mean of products is not the product of means where two factors are unlike along one dimension.
    """
    unlike = [p for p in factors if p is not None]
    if not unlike or len({p.dim for p in unlike}) > 1:
        return 1.0, None
    energies = np.prod([p.energies for p in unlike], axis=0)
    return float(energies.mean()), made(unlike[0].dim, energies)


def divided(g: Places | None, x: Places | None, floor: float) -> tuple[float, Places | None]:
    """Places of g / x where each place of x has its own size, and what they make of the mean square.

    Args:
        g: of the numerator.
        x: of the denominator.
        floor: eps of the norm, relative to the mean square of x.

    Example:
        >>> x = joined(1, [(9, 1.0, None), (1, 0.1, None)])
        >>> round(divided(None, x, 0.0)[0], 3), round(divided(only(1, 10, 9, 1), x, 0.0)[0], 3)
        (1.729, 9.1)
    """
    if x is None or (g is not None and g.dim != x.dim):
        return 1.0, g
    energies = (1.0 if g is None else g.energies) * (1.0 + floor) / (x.energies + floor)
    return float(energies.mean()), made(x.dim, energies)
