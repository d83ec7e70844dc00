r"""The second moments of a random array, by which axes two of its entries share.

A tensor of n axes has a *kernel* of shape (2,) * n: ``kernel[e]`` is E[x_I x_J] for two entries I, J whose indices
agree on the axes with e = 1 and differ on those with e = 0. For activations (sample, token, feature),
``kernel[1, 1, 1]`` is the second moment, ``kernel[1, 0, 1]`` the covariance of two tokens, ``kernel[0, 1, 1]`` that
of two samples.
Exact where the entries are exchangeable along each axis (any two tokens are alike); an average over pairs otherwise.

Sums, means, products, contractions, views and broadcasts of such arrays act on the kernels alone, so a network of any
width is followed with 2^n numbers a tensor, without data. It is the NNGP kernel (Lee et al. 2018, arXiv 1711.00165) of
a whole family of index pairs at once.

For an axis of size 1 there are no two different indices; its "differ" half repeats the "agree" half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_SHORT = 64  # an axis that is summed slice by slice where many runs of it are side by side

__all__ = [
    "Array",
    "average",
    "broadcast",
    "centred",
    "coloured",
    "constant",
    "contract",
    "diagonal",
    "iid",
    "measure",
    "merge_axes",
    "pair_mean",
    "root_eigenvalues",
    "sample",
    "shares",
    "split_axis",
    "total",
]

Array: TypeAlias = npt.NDArray[np.float64]


def iid(num_axes: int, *, var: float, mean: float = 0.0) -> Array:
    """Kernel of independent entries.

    Example:
        >>> iid(2, var=1.0, mean=2.0)
        array([[4., 4.],
               [4., 5.]])
    """
    kernel = np.full((2,) * num_axes, mean * mean)
    kernel[(1,) * num_axes] += var
    return kernel


def constant(num_axes: int, value: float) -> Array:
    """Kernel of an array whose entries are all the same number."""
    return np.full((2,) * num_axes, value * value)


def shares(size: float) -> Array:
    """Chances that two indices drawn from an axis of that size (differ, agree)."""
    return np.array([1.0 - 1.0 / size, 1.0 / size])


def average(kernel: Array, sizes: Sequence[float], axes: Iterable[int], *, keep: bool = False) -> Array:
    """Kernel of the mean over some axes; with `keep`, as the array that repeats that mean along them.

    Example:
        >>> average(iid(2, var=1.0), (8, 4), [1])
        array([0.  , 0.25])
    """
    for axis in sorted(axes, reverse=True):
        mixed = np.tensordot(kernel, shares(sizes[axis]), axes=([axis], [0]))
        kernel = np.repeat(np.expand_dims(mixed, axis), 2, axis) if keep else mixed
    return np.asarray(kernel)


def total(kernel: Array, sizes: Sequence[float], axes: Iterable[int]) -> Array:
    """Kernel of the sum over some axes."""
    axes = tuple(axes)
    return average(kernel, sizes, axes) * math.prod(sizes[a] for a in axes) ** 2


def centred(kernel: Array, sizes: Sequence[float], axes: Iterable[int]) -> Array:
    """Kernel of the array less its own mean over some axes.

    Example:
        >>> centred(iid(1, var=1.0, mean=3.0), (5,), [0])
        array([-0.2,  0.8])
    """
    return kernel - average(kernel, sizes, axes, keep=True)


def pair_mean(kernel: Array, sizes: Sequence[float]) -> float:
    """Mean of the kernel over all pairs of entries, equal ones included: E[(mean of all entries)^2]."""
    return float(average(kernel, sizes, range(kernel.ndim)))


def diagonal(kernel: Array) -> float:
    """E[x_I^2]."""
    return float(kernel[(1,) * kernel.ndim])


def broadcast(kernel: Array, axis: int) -> Array:
    """Kernel of the array repeated along a new axis."""
    return np.repeat(np.expand_dims(kernel, axis), 2, axis)


def merge_axes(kernel: Array, sizes: Sequence[float], axis: int) -> Array:
    """Kernel with `axis` and the one after it read as a single axis: pairs that differ there are averaged."""
    n, m = sizes[axis], sizes[axis + 1]
    k = np.moveaxis(kernel, (axis, axis + 1), (0, 1))
    pairs = n * m - 1
    weights = ((n - 1) * (m - 1) / pairs, (n - 1) / pairs, (m - 1) / pairs) if pairs else (0.0, 0.0, 1.0)
    differ = weights[0] * k[0, 0] + weights[1] * k[0, 1] + weights[2] * k[1, 0]
    return np.stack((differ, k[1, 1]), axis) if pairs else np.stack((k[1, 1], k[1, 1]), axis)


def split_axis(kernel: Array, axis: int) -> Array:
    """Kernel with `axis` read as two: entries agree on it only where they agree on both."""
    k = np.moveaxis(kernel, axis, 0)
    both = np.stack((np.stack((k[0], k[0])), np.stack((k[0], k[1]))))
    return np.moveaxis(both, (0, 1), (axis, axis + 1))


def contract(equation: str, operands: Sequence[Array], sizes: dict[str, float]) -> Array:
    """Kernel of the einsum of independent arrays.

    A summed axis of size n counts n agreeing and n (n - 1) differing pairs.

    Example:
        >>> weight, signal = iid(2, var=0.5), iid(2, var=1.0)
        >>> diagonal(contract("bi,oi->bo", [signal, weight], {"b": 8, "i": 4, "o": 3}))
        2.0
    """
    left, _, right = equation.partition("->")
    terms = left.split(",")
    summed = sorted(set(left.replace(",", "")) - set(right))
    weights = [np.array([sizes[s] * (sizes[s] - 1.0), float(sizes[s])]) for s in summed]
    return np.asarray(np.einsum(f"{','.join([*terms, *summed])}->{right}", *operands, *weights))


def measure(values: Array, sizes: Sequence[float] | None = None) -> Array:
    """Kernel of a given array: products averaged over all pairs of entries of each kind.

    Args:
        values: the array.
        sizes: of its axes, where its entries are a multiple of those that they stand for.

    Example:
        >>> measure(np.array([1.0, -1.0]))
        array([-1.,  1.])
        >>> measure(np.array([1.0, 1.0, -1.0, -1.0]), (2.0,))
        array([-1.,  1.])
    """
    axes = tuple(range(values.ndim))
    kernel = _energies(np.asarray(values, dtype=np.float64), axes)
    for axis, size in enumerate(values.shape if sizes is None else sizes):
        k = np.moveaxis(kernel, axis, 0)
        differ = k[1] if size == 1 else (k[0] - k[1] / size) / (1.0 - 1.0 / size)
        kernel = np.stack((differ, k[1]), axis)
    return kernel


def _energies(values: Array, axes: tuple[int, ...]) -> Array:
    """For each set of axes, the mean square of the array averaged over the others (axes kept have index 1)."""
    if not axes:
        flat = values.reshape(-1)
        return np.asarray(flat.dot(flat) / max(flat.size, 1))
    rest = axes[1:]
    averaged = _energies(_averaged(values, axes[0]), rest)
    return np.stack((averaged, _energies(values, rest)))


def _averaged(values: Array, axis: int) -> Array:
    """Mean over one axis, which stays with length 1; as matrix products, which are as fast on short axes."""
    shape, size = values.shape, values.shape[axis]
    left, right = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    x = np.ascontiguousarray(values).reshape(left, size, right)
    if right == 1:
        mean = x[:, :, 0] @ np.full(size, 1.0 / size)
    elif size <= _SHORT < left:
        mean = sum(x[:, i] for i in range(size)) / size
    else:
        mean = np.full((1, size), 1.0 / size) @ x
    return np.asarray(mean).reshape(*shape[:axis], 1, *shape[axis + 1 :])


def sample(kernel: Array, sizes: Sequence[float], rng: np.random.Generator) -> Array:
    """A Gaussian array of mean 0 with that (centred) kernel.

    White noise is split into its part constant along each axis and the rest; each of the 2^n parts is multiplied by
    the root of the kernel's eigenvalue there, so negative correlations (centred weights) are drawn as exactly as
    positive ones.
    """
    noise = rng.standard_normal(tuple(int(n) for n in sizes))
    return coloured(noise, root_eigenvalues(kernel, sizes))


def root_eigenvalues(kernel: Array, sizes: Sequence[float]) -> Array:
    """Roots of the eigenvalues of the covariance on the (constant, varying) part of each axis."""
    for axis, size in enumerate(sizes):
        k = np.moveaxis(kernel, axis, 0)
        kernel = np.stack((k[1] + (size - 1) * k[0], k[1] - k[0]), axis)
    return np.asarray(np.sqrt(np.maximum(kernel, 0.0)))


def coloured(noise: Array, roots: Array) -> Array:
    """White noise multiplied by `root_eigenvalues` along its last axes."""
    return np.array(np.broadcast_to(_coloured(noise, roots), noise.shape), dtype=np.float64)


def _coloured(noise: Array, roots: Array) -> Array:
    if roots.ndim == 0:
        return np.asarray(noise * float(roots))
    axis = noise.ndim - roots.ndim
    flat = noise.mean(axis=axis, keepdims=True)
    return np.asarray(_coloured(flat, roots[0]) + _coloured(noise - flat, roots[1]))
