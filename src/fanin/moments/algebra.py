"""Sums, products and contractions of independent random tensors, on their moments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fanin.moments import kernel as kn
from fanin.moments.moments import JointMoments, aligned, common_factors, refactor
from fanin.moments.places import Places, joined, made, mixed, multiplied

__all__ = [
    "concatenated",
    "contraction",
    "mixed_overlap",
    "mixed_width_var",
    "normalised",
    "product",
    "summed_up",
    "unsure_of_places",
]

_OF_PLACES = 0.05  # share of the way between the extremes that is not known
_UNLIKE_GROUPS = 0.1  # spread of the log of a group's variance where nothing is known of it: 5 % of a std


def summed_up(*terms: JointMoments) -> JointMoments:
    """Sum of independent tensors, broadcast.

    Example:
        >>> summed_up(JointMoments.iid((4, 8), var=1.0), JointMoments.constant((8,), 2.0)).second_moment
        5.0
    """
    full = aligned(terms)
    mean = sum(m.mean for m in full)
    kernel = np.asarray(sum(m.covariance for m in full) + mean * mean)
    places = mixed([(m.second_moment, m.places) for m in full])
    width = mixed_width_var(full, kernel)
    overlap = mixed_overlap(full)
    made = full[0].changed(mean=mean, kernel=kernel, width_var=width, spread=None, places=places, overlap=overlap)
    return made.changed(spread=_spread_of_sum(made, full))


def _spread_of_sum(made: JointMoments, terms: Sequence[JointMoments]) -> float | None:
    """Spread of a sum of which some terms have a size that is fixed, as a norm fixes it: that of their share is gone.

    None where all terms are Gaussian, and so is the sum.
    """
    fixed = [m for m in terms if m.spread is not None]
    if not fixed or made.second_moment <= 0.0:
        return None
    shares = [(m.second_moment / made.second_moment, m) for m in fixed]
    return max(made.own_var - sum(s * s * (m.changed(spread=None).own_var - m.own_var) for s, m in shares), 0.0)


def mixed_width_var(terms: Sequence[JointMoments], kernel: kn.Array) -> float:
    """Width variance of a sum: that of the terms, weighted by their share, taken as moving together."""
    second = kn.diagonal(kernel)
    if second <= 0.0:
        return 0.0
    return sum(max(m.second_moment, 0.0) / second * math.sqrt(m.width_var) for m in terms) ** 2


def mixed_overlap(terms: Sequence[JointMoments]) -> float:
    """Overlap of a sum: correlations of independent terms add up in proportion to their share of the energy."""
    total = sum(max(m.second_moment, 0.0) for m in terms)
    return sum((max(m.second_moment, 0.0) / total) ** 2 * m.overlap for m in terms) if total > 0.0 else 0.0


def product(*factors: JointMoments) -> JointMoments:
    """Product of independent tensors, broadcast: kernels multiply."""
    full = aligned(factors)
    gain, places = multiplied([m.places for m in full])
    kernel = gain * np.prod([m.kernel for m in full], axis=0)
    mean = math.prod(m.mean for m in full)
    width = sum(m.width_var for m in full)
    return full[0].changed(mean=mean, kernel=kernel, width_var=width, spread=None, places=places)


def contraction(equation: str, operands: Sequence[JointMoments], shape: Sequence[int]) -> JointMoments:
    """An einsum of independent tensors, one letter a dimension; dimensions of size 1 broadcast.

    Example:
        >>> w = JointMoments.iid((16, 64), var=1 / 64)
        >>> y = contraction("bti,oi->bto", [JointMoments.iid((2, 8, 64)), w], (2, 8, 16))
        >>> y.second_moment, y.cosine(1)
        (1.0, 0.0)
    """
    left, _, right = equation.partition("->")
    terms = left.split(",")
    factors = _factors(terms, operands)
    names: dict[str, str] = {}
    sizes: dict[str, float] = {}
    for letter, parts in factors.items():
        names[letter] = "".join(_symbol(len(sizes) + i) for i in range(len(parts)))
        sizes.update(zip(names[letter], parts, strict=True))
    inputs, kernels = [], []
    for term, m in zip(terms, operands, strict=True):
        live = [letter for d, letter in enumerate(term) if m.shape[d] != 1]
        kernels.append(refactor(m.kernel, m.sizes, [s for letter in live for s in factors[letter]]))
        inputs.append("".join(names[letter] for letter in live))
    output = "".join(names[letter] for letter in right if letter in names)
    kernel = kn.contract(f"{','.join(inputs)}->{output}", kernels, sizes)
    count = math.prod(math.prod(p) for letter, p in factors.items() if letter not in right)
    mean = math.prod(m.mean for m in operands) * count
    made = JointMoments(shape=tuple(shape), sizes=tuple(sizes[s] for s in output), mean=mean, kernel=kernel)
    return made.changed(places=_kept_places(terms, operands, right))


def _kept_places(terms: Sequence[str], operands: Sequence[JointMoments], right: str) -> Places | None:
    """Places along a dimension that only one operand has, and that is not summed over."""
    for term, m in zip(terms, operands, strict=True):
        letter = "" if m.places is None else term[m.places.dim]
        if letter and letter in right and "".join(terms).count(letter) == 1:
            return m.places and m.places.moved(right.index(letter))
    return None


def _factors(terms: Sequence[str], operands: Sequence[JointMoments]) -> dict[str, tuple[float, ...]]:
    options: dict[str, list[tuple[float, ...]]] = {}
    for term, m in zip(terms, operands, strict=True):
        for d, letter in enumerate(term):
            if m.shape[d] != 1:
                options.setdefault(letter, []).append(m.dim_sizes(d))
    return {letter: common_factors(parts) for letter, parts in options.items()}


def _symbol(i: int) -> str:
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[i]


def normalised(m: JointMoments, dims: Sequence[int], *, eps: float, centre: bool) -> JointMoments:
    """The tensor divided by its root mean square over dimensions (after its mean there is taken off).

    Each group of normalised entries gets mean square v / (v + eps) exactly, whatever its width; v is that of its place
    where places differ (a token near zero stays below eps). Where eps is no small part of v + eps, the result is as
    unsure as v is.
    """
    axes = m.axes_of(dims)
    kernel = kn.centred(m.kernel, m.sizes, axes) if centre else m.kernel
    second = max(kn.diagonal(kernel), 0.0)
    gain = 1.0 / (second + eps) if second + eps > 0.0 else 0.0
    mean = 0.0 if centre else m.mean * math.sqrt(gain)
    places = m.places if m.places is not None and m.places.dim in {d % len(m.shape) for d in dims} else None
    spread = 0.0 if second > 0.0 else None
    if places is None and m.places is not None and second > 0.0:
        energies = m.places.energies * (second + eps) / (m.places.energies * second + eps)
        gain *= float(energies.mean())
        places = made(m.places.dim, energies)
    below = eps / (second + eps) if second > 0.0 else 0.0
    unsure = below**2 * (m.width_var + _UNLIKE_GROUPS**2)
    return m.changed(mean=mean, kernel=kernel * gain, width_var=unsure, spread=spread, places=places)


def unsure_of_places(m: JointMoments, alike: float) -> JointMoments:
    """The tensor with the error of what near places have in common.

    A kernel holds the mean over all pairs of places, and entries of one window are nearer than that. The mean or the
    largest of a window lies between what such a mean gives and what it is where all its entries are equal.

    Args:
        m: what the kernel gives.
        alike: its rms if all entries of a window were equal.
    """
    if m.rms <= 0.0 or alike <= 0.0:
        return m
    return m.widened((2.0 * _OF_PLACES * math.log(m.rms / alike)) ** 2)


def concatenated(parts: Sequence[JointMoments], dim: int) -> JointMoments:
    """Independent tensors joined along a dimension: kinds of pairs are averaged over the parts they fall into."""
    dim %= len(parts[0].shape)
    counts = [m.shape[dim] for m in parts]
    total = sum(counts)
    if total == 1:
        return next(m for m, n in zip(parts, counts, strict=True) if n)
    shapes = [(*m.shape[:dim], 2, *m.shape[dim + 1 :]) for m in parts]
    full = aligned([m.resized(dim, 2) for m in parts])
    axis = full[0].axes(dim)[0]
    ks = [np.moveaxis(m.kernel, axis, 0) for m in full]
    agree = sum(n * k[1] for n, k in zip(counts, ks, strict=True)) / total
    differ = sum(n * (n - 1) * k[0] for n, k in zip(counts, ks, strict=True))
    first = sum(n * m.mean for n, m in zip(counts, full, strict=True))
    cross = first * first - sum(n * n * m.mean * m.mean for n, m in zip(counts, full, strict=True))
    kernel = np.stack(((differ + cross) / (total * (total - 1)), agree), axis)
    shape = (*shapes[0][:dim], total, *shapes[0][dim + 1 :])
    sizes = tuple(total if a == axis else s for a, s in enumerate(full[0].sizes))
    moments = JointMoments(shape=shape, sizes=sizes, mean=first / total, kernel=np.asarray(kernel))
    places = joined(dim, [(n, m.second_moment, m.places) for n, m in zip(counts, parts, strict=True)])
    return moments.changed(width_var=max(m.width_var for m in parts), places=places)
