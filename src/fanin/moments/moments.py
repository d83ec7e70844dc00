"""What is known of a tensor without its numbers: mean, second moments by pair kind, and how sure that is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from fanin.errors import ShapeError
from fanin.moments import kernel as kn
from fanin.moments.kernel import Array
from fanin.moments.places import Places

__all__ = ["MAX_AXES", "MOST_SE", "JointMoments", "aligned", "common_factors", "refactor"]

MOST_SE = 1.0  # standard error of ln(rms) from which a size is not known: a factor of e either way
MAX_AXES = 9  # 512 numbers a tensor: a view that would need more merges its finest axes


@dataclass(frozen=True, slots=True, kw_only=True)
class JointMoments:
    """First and second moments of a random tensor.

    Attributes:
        shape: shape of the tensor.
        sizes: sizes of the kernel's axes, row-major: a dimension that a view made out of several keeps them apart, so
            that the view back loses nothing; a dimension of size 1 has none. An odd dimension of n units in two halves
            is (2, n / 2): the unit left over counts half in each (see `fanin.moments.halves`).
        mean: mean of all entries.
        kernel: E[x_I x_J] by which axes I and J share; see `fanin.moments.kernel`.
        width_var: variance of the log of the second moment that finite width upstream has caused (sum of kappa / n).
        spread: variance of the log of one tensor's own mean square given its kernel; None: that of a Gaussian tensor.
        places: how the mean square is divided over one dimension whose places are unlike; None: they are alike.
        overlap: mean square of the correlation of two rows (along the last dimension) that the kernel's mean does not
            show: 1 / n for rows that are maps of n numbers each.

    Example:
        >>> x = JointMoments.iid((8, 16, 64), var=4.0)
        >>> x.rms, x.std, x.cosine(1)
        (2.0, 1.99..., 0.0)
    """

    shape: tuple[int, ...]
    sizes: tuple[float, ...]
    mean: float
    kernel: Array
    width_var: float = 0.0
    spread: float | None = None
    places: Places | None = None
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.kernel.shape != (2,) * len(self.sizes) or math.prod(self.sizes) != math.prod(self.shape):
            raise ShapeError(
                f"a kernel of shape {self.kernel.shape} over axes of sizes {self.sizes} does not describe a tensor "
                f"of shape {self.shape}. "
                "Give one axis of length 2 for each size, and sizes that multiply to the number of elements."
            )

    # ------------------------------------------------------------------ made from
    @classmethod
    def iid(cls, shape: Sequence[int], *, var: float = 1.0, mean: float = 0.0) -> JointMoments:
        """Independent entries of that mean and variance."""
        sizes = tuple(n for n in shape if n != 1)
        return cls(shape=tuple(shape), sizes=sizes, mean=mean, kernel=kn.iid(len(sizes), var=var, mean=mean))

    @classmethod
    def constant(cls, shape: Sequence[int], value: float) -> JointMoments:
        """All entries the same known number."""
        sizes = tuple(n for n in shape if n != 1)
        return cls(shape=tuple(shape), sizes=sizes, mean=value, kernel=kn.constant(len(sizes), value))

    @classmethod
    def measured(cls, values: Array) -> JointMoments:
        """Moments of a given array: pairs are averaged, so correlations along every axis are seen.

        Example:
            >>> JointMoments.measured(np.ones((2, 3))).cosine(0)
            1.0
        """
        sizes = tuple(n for n in values.shape if n != 1)
        mean = float(np.mean(values, dtype=np.float64))
        return cls(shape=values.shape, sizes=sizes, mean=mean, kernel=kn.measure(values.reshape(sizes)))

    # ------------------------------------------------------------------ read off
    @property
    def second_moment(self) -> float:
        """E[x^2]."""
        return kn.diagonal(self.kernel)

    @property
    def rms(self) -> float:
        """sqrt(E[x^2])."""
        return math.sqrt(max(self.second_moment, 0.0))

    @property
    def var(self) -> float:
        """Expected variance over all entries of one tensor: what all entries have in common is not in it."""
        return max(self.second_moment - kn.pair_mean(self.kernel, self.sizes), 0.0)

    @property
    def std(self) -> float:
        """Root of `var`."""
        return math.sqrt(self.var)

    @property
    def covariance(self) -> Array:
        """Kernel less the square of the mean."""
        return self.kernel - self.mean * self.mean

    @property
    def entry_var(self) -> float:
        """Variance of one entry over all random draws."""
        return max(self.second_moment - self.mean * self.mean, 0.0)

    def axes(self, dim: int) -> tuple[int, ...]:
        """Axes of the kernel that make up a dimension of the tensor."""
        return _axes(self.shape, self.sizes, dim % max(len(self.shape), 1))

    def axes_of(self, dims: Sequence[int]) -> tuple[int, ...]:
        """Axes of the kernel that make up several dimensions."""
        return tuple(a for d in dims for a in self.axes(d))

    def dim_sizes(self, dim: int) -> tuple[float, ...]:
        """Sizes of the axes of one dimension."""
        return tuple(self.sizes[a] for a in self.axes(dim))

    def pair(self, *differ: int) -> float:
        """E[x_I x_J] for entries that differ (everywhere inside) on the given dimensions and agree on all others."""
        m = self.merged(*differ)
        index = [1] * len(m.sizes)
        for axis in m.axes_of(differ):
            index[axis] = 0
        return float(m.kernel[tuple(index)])

    def cosine(self, dim: int) -> float:
        """E[x_I x_J] / E[x^2] for entries that differ on one dimension: of tokens, of samples, of positions."""
        return self.pair(dim) / self.second_moment if self.second_moment > 0.0 else 0.0

    def merged(self, *dims: int) -> JointMoments:
        """The same tensor with a single axis for each of these dimensions."""
        dims = tuple(d % max(len(self.shape), 1) for d in dims)
        parts: list[tuple[float, ...]] = [
            (self.shape[d],) if d in dims and self.shape[d] != 1 else self.dim_sizes(d) for d in range(len(self.shape))
        ]
        sizes = tuple(s for part in parts for s in part)
        if sizes == self.sizes:
            return self
        return self.changed(sizes=sizes, kernel=refactor(self.kernel, self.sizes, sizes))

    @property
    def whole(self) -> JointMoments:
        """The same tensor without halves that share a unit, so that its axes can be counted and drawn.

        Example:
            >>> JointMoments(shape=(9,), sizes=(2, 4.5), mean=0.0, kernel=kn.iid(2, var=1.0)).whole.sizes
            (9,)
        """
        dims = range(len(self.shape))
        return self.merged(*(d for d in dims if any(not float(n).is_integer() for n in self.dim_sizes(d))))

    def drawn(self, rng: np.random.Generator) -> Array:
        """A Gaussian array of mean 0 with this covariance."""
        m = self.whole
        return kn.sample(m.covariance, m.sizes, rng).reshape(self.shape)

    @property
    def own_var(self) -> float:
        """Variance of the log of one tensor's mean square, given its kernel.

        2 / n for n independent Gaussian entries.
        """
        if self.spread is not None:
            return self.spread
        return self._spread_beside(self.kernel, self.sizes, self.mean * self.mean)

    def own_var_beside(self, known: JointMoments) -> float:
        """The same where a part of the tensor is no draw: variance of the log of its mean square given that part.

        Args:
            known: moments of that part, which broadcast to this tensor; the rest is a Gaussian of mean 0 beside it.

        Example:
            >>> a = JointMoments.measured(np.array([1.0, -3.0, 2.0, 5.0]))
            >>> x = JointMoments.iid((4,), var=0.01).with_kernel(JointMoments.iid((4,), var=0.01).kernel + a.kernel)
            >>> x.own_var > 10 * x.own_var_beside(a)
            True
        """
        whole, told = aligned([self, known], self.shape)
        return self._spread_beside(whole.kernel, whole.sizes, told.kernel)

    def _spread_beside(self, kernel: Array, sizes: Sequence[float], told: Array | float) -> float:
        second = self.second_moment
        if second <= 0.0:
            return 0.0
        if not (math.isfinite(second) and np.isfinite(kernel).all()):
            return math.inf
        share = told / second  # relative, so that an exploding signal does not overflow
        cov = kernel / second - share
        unlike = 1.0 if self.places is None else float(np.square(self.places.energies).mean())  # fewer places count
        return unlike * max(kn.pair_mean(2.0 * np.square(cov) + 4.0 * share * cov, sizes), 0.0)

    @property
    def log_rms_se(self) -> float:
        """Standard error of log(rms) of one network of this width.

        Half the root of `width_var` and of the tensor's own spread.
        """
        return 0.5 * math.sqrt(self.width_var + self.own_var)

    # ------------------------------------------------------------------ made of it
    def changed(self, **fields: Any) -> JointMoments:
        """The same with other values of some fields: `dataclasses.replace` in a third of its time.

        Example:
            >>> JointMoments.iid((4,)).changed(mean=1.0).mean
            1.0
        """
        new: JointMoments = object.__new__(type(self))
        for name in _FIELDS:
            object.__setattr__(new, name, fields.pop(name) if name in fields else getattr(self, name))
        if fields:
            raise TypeError(f"JointMoments has no field {', '.join(fields)}; it has {', '.join(_FIELDS)}")
        if new.kernel is not self.kernel or new.sizes is not self.sizes or new.shape is not self.shape:
            new.__post_init__()
        return new

    def scaled(self, factor: float) -> JointMoments:
        """The tensor times a known number."""
        if factor == 1.0:
            return self
        return self.changed(mean=self.mean * factor, kernel=self.kernel * (factor * factor))

    def widened(self, width_var: float) -> JointMoments:
        """The same with so much more variance of the log of its second moment."""
        return self.changed(width_var=self.width_var + width_var)

    def with_kernel(self, kernel: Array, mean: float | None = None) -> JointMoments:
        """The same shape with another kernel and mean."""
        return self.changed(kernel=kernel, mean=self.mean if mean is None else mean)

    def reshaped(self, shape: Sequence[int]) -> JointMoments:
        """Row-major view of another shape."""
        shape = tuple(shape)
        sizes = _sizes_of_view(self.sizes, shape)
        places = self.places if shape == self.shape else None
        kernel = refactor(self.kernel, self.sizes, sizes)
        return self.changed(shape=shape, sizes=sizes, kernel=kernel, places=places)

    def permuted(self, order: Sequence[int]) -> JointMoments:
        """Dimensions in another order."""
        axes = self.axes_of(order)
        return self.changed(
            shape=tuple(self.shape[d] for d in order),
            sizes=tuple(self.sizes[a] for a in axes),
            kernel=self.kernel.transpose(axes),
            places=self.places and self.places.moved(tuple(order).index(self.places.dim)),
            overlap=self.overlap if tuple(order)[-1:] == (len(order) - 1,) else 0.0,
        )

    def expanded(self, shape: Sequence[int]) -> JointMoments:
        """Broadcast to a shape, as torch does it: repeated entries agree wherever the original ones do."""
        return aligned([self], shape)[0]

    def resized(self, dim: int, size: int) -> JointMoments:
        """The same law with another number of entries along a dimension (a slice, a chunk, a selection)."""
        m = self.merged(dim)
        dim %= len(self.shape)
        shape = (*self.shape[:dim], size, *self.shape[dim + 1 :])
        axes, start = m.axes(dim), sum(len(m.axes(d)) for d in range(dim))
        if size == 1:
            kernel = m.kernel[(slice(None),) * start + (1,)] if axes else m.kernel
            sizes = tuple(s for a, s in enumerate(m.sizes) if a not in axes)
        elif axes:
            kernel, sizes = m.kernel, tuple(size if a in axes else s for a, s in enumerate(m.sizes))
        else:
            kernel, sizes = kn.broadcast(m.kernel, start), (*m.sizes[:start], size, *m.sizes[start:])
        return m.changed(shape=shape, sizes=sizes, kernel=kernel, places=None)

    def part(self, dim: int, start: int, size: int) -> JointMoments:
        """A run of entries along a dimension, as large as it is there."""
        run = self.resized(dim, size)
        dim %= len(self.shape)
        if self.places is None or self.places.dim != dim:
            return run.changed(places=self.places)
        share, places = self.places.part(start, size)
        return run.scaled(share**0.5).changed(places=places)

    def summed(self, dims: Sequence[int], *, keepdim: bool = False, mean: bool = False) -> JointMoments:
        """Sum (or mean) over dimensions."""
        dims = sorted({d % max(len(self.shape), 1) for d in dims})
        axes = self.axes_of(dims)
        count = math.prod(self.shape[d] for d in dims)
        kernel = kn.average(self.kernel, self.sizes, axes) * (1.0 if mean else float(count) ** 2)
        shape = tuple(1 if d in dims else n for d, n in enumerate(self.shape) if keepdim or d not in dims)
        return self.changed(
            shape=shape,
            sizes=tuple(s for a, s in enumerate(self.sizes) if a not in axes),
            kernel=kernel,
            mean=self.mean * (1.0 if mean else count),
            places=None,
        )


_FIELDS = tuple(field.name for field in fields(JointMoments))


@lru_cache(maxsize=1 << 12)
def _sizes_of_view(sizes: tuple[float, ...], shape: tuple[int, ...]) -> tuple[float, ...]:
    """Sizes of the kernel's axes of a row-major view of that shape."""
    bounds = set(itertools.accumulate((n for n in shape if n != 1), lambda a, b: a * b))
    own = list(itertools.accumulate(sizes, lambda a, b: a * b))
    edges = sorted(bounds)
    kept = sorted(bounds | {b for b in own if _fits(b, edges)} | _middles(own, edges))
    return _capped(_ratios(kept), edges)


@lru_cache(maxsize=1 << 16)
def _axes(shape: tuple[int, ...], sizes: tuple[float, ...], dim: int) -> tuple[int, ...]:
    start, end = math.prod(shape[:dim]), math.prod(shape[: dim + 1])
    bounds: list[float] = [1, *itertools.accumulate(sizes, lambda a, b: a * b)]
    return tuple(i for i in range(len(sizes)) if start <= bounds[i] and bounds[i + 1] <= end)


def _fits(bound: float, edges: Sequence[float]) -> bool:
    """Whether an axis limit is at a whole number of rows inside the dimension that holds it."""
    below = max((e for e in edges if e <= bound), default=1)
    above = min((e for e in edges if e >= bound), default=bound)
    return bound % below == 0 and above % bound == 0


def _middles(own: Sequence[float], edges: Sequence[float]) -> set[float]:
    """Limits between two halves of an odd dimension that the edges keep whole."""
    found = set()
    for bound, after in itertools.pairwise(own):
        below = max((e for e in edges if e <= bound), default=1)
        if after % bound and after in edges and bound % below == 0:
            found.add(bound)
    return found


def _ratio(a: float, b: float) -> float:
    """Their quotient, as an int where it is whole."""
    return int(a // b) if a % b == 0 else a / b


def _ratios(bounds: Sequence[float]) -> tuple[float, ...]:
    return tuple(_ratio(b, a) for a, b in itertools.pairwise([1, *bounds]))


def _capped(sizes: tuple[float, ...], edges: Sequence[float]) -> tuple[float, ...]:
    """Sizes with the last inner limits dropped until there are at most `MAX_AXES`."""
    bounds = list(itertools.accumulate(sizes, lambda a, b: a * b))
    inner = [b for b in bounds if b not in set(edges)]
    while len(bounds) > MAX_AXES and inner:
        bounds.remove(inner.pop())
    return _ratios(bounds)


def refactor(kernel: Array, sizes: Sequence[float], target: Sequence[float]) -> Array:
    """The kernel over axes of other sizes with the same row-major order.

    Limits not in the target are merged, new ones split.

    Example:
        >>> refactor(kn.iid(1, var=1.0), (6,), (2, 3))
        array([[0., 0.],
               [0., 1.]])
    """
    target = tuple(target)
    if target == tuple(sizes):
        return kernel
    want = set(itertools.accumulate(target, lambda a, b: a * b))
    sizes = list(sizes)
    axis, bound = 0, 1.0
    while axis < len(sizes) - 1:
        if bound * sizes[axis] in want:
            bound *= sizes[axis]
            axis += 1
        else:
            kernel = kn.merge_axes(kernel, sizes, axis)
            sizes[axis : axis + 2] = [sizes[axis] * sizes[axis + 1]]
    for axis, size in enumerate(target):
        if sizes[axis] != size:
            kernel = kn.split_axis(kernel, axis)
            sizes[axis : axis + 1] = [size, _ratio(sizes[axis], size)]
    return kernel


def common_factors(options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Sizes of the coarsest axes that refine all the given ways to divide one dimension; one axis where none does.

    Example:
        >>> common_factors([(4, 16), (64,), (8, 8)]), common_factors([(4, 3), (3, 4)])
        ((4, 2, 8), (12,))
        >>> common_factors([(2, 31.5), (63,)]), common_factors([(2, 31.5), (9, 7)])
        ((2, 31.5), (63,))
    """
    limits = [list(itertools.accumulate(sizes, lambda a, b: a * b)) for sizes in options]
    bounds = sorted({b for own in limits for b in own})
    halves = {pair for own in limits for pair in itertools.pairwise(own)}
    if bounds[0] == 0 or any(b % a and (a, b) not in halves for a, b in itertools.pairwise(bounds)):
        return (_ratio(math.prod(options[0]), 1),)
    return _ratios(bounds)


def aligned(operands: Sequence[JointMoments], shape: Sequence[int] | None = None) -> list[JointMoments]:
    """The operands broadcast to one shape, with one division into axes.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> a, b = aligned([JointMoments.iid((8, 4)), JointMoments.iid((4,))])
        >>> b.shape, b.cosine(0)
        ((8, 4), 1.0)
    """
    try:
        full = tuple(shape) if shape is not None else np.broadcast_shapes(*(m.shape for m in operands))
        np.broadcast_shapes(full, *(m.shape for m in operands))
    except ValueError as error:
        raise ShapeError(
            f"the shapes {[m.shape for m in operands]} do not broadcast to {shape or 'one shape'}; each dimension "
            f"must be equal or 1"
        ) from error
    padded = [(1,) * (len(full) - len(m.shape)) + m.shape for m in operands]
    factors = _common_axes(full, tuple(zip(padded, (m.sizes for m in operands), strict=True)))
    return [_spread(m, own, full, factors) for m, own in zip(operands, padded, strict=True)]


_Axes: TypeAlias = "tuple[tuple[float, ...], ...]"


@lru_cache(maxsize=1 << 12)
def _common_axes(full: tuple[int, ...], operands: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]) -> _Axes:
    """How each dimension is divided so that all operands, given by shape and sizes of axes, can be so divided."""
    factors = [
        common_factors([_sizes_along(*m, d) for m in operands if m[0][d] != 1] or [(n,)]) if n != 1 else ()
        for d, n in enumerate(full)
    ]
    while sum(map(len, factors)) > MAX_AXES and max(map(len, factors)) > 1:
        widest = max(range(len(factors)), key=lambda d: len(factors[d]))
        *rest, a, b = factors[widest]
        factors[widest] = (*rest, _ratio(a * b, 1))
    return tuple(factors)


def _sizes_along(shape: tuple[int, ...], sizes: tuple[float, ...], dim: int) -> tuple[float, ...]:
    return tuple(sizes[a] for a in _axes(shape, sizes, dim))


def _spread(m: JointMoments, own: tuple[int, ...], shape: tuple[int, ...], factors: _Axes) -> JointMoments:
    """The tensor, whose shape is `own` with dimensions of size 1 in front, broadcast to a shape and its axes."""
    sizes = tuple(s for f in factors for s in f)
    if sizes == m.sizes and shape == m.shape:
        return m
    kernel = refactor(m.kernel, m.sizes, tuple(s for d, f in enumerate(factors) if own[d] != 1 for s in f))
    axis = 0
    for d, f in enumerate(factors):
        for _ in f:
            if own[d] == 1:
                kernel = kn.broadcast(kernel, axis)
            axis += 1
    places = m.places and m.places.moved(m.places.dim + len(own) - len(m.shape))
    return m.changed(shape=shape, sizes=sizes, kernel=kernel, places=places)
