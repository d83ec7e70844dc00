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
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_LARGE = 1 << 16  # entries from which a float32 array is not copied to float64 first
_NOTHING = 1e-9  # share of the largest part below which a part of a drawn array is left out
_SHORT = 64  # an axis that is summed slice by slice where many runs of it are side by side

__all__ = [
    "Array",
    "average",
    "axis_mean",
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


def average(kernel: Array, sizes: Sequence[float], axes: Iterable[int], *, keep: bool = False) -> Array:
    """Kernel of the mean over some axes; with `keep`, as the array that repeats that mean along them.

    Example:
        >>> average(iid(2, var=1.0), (8, 4), [1])
        array([0.  , 0.25])
    """
    for axis in sorted(axes, reverse=True):
        apart, agree = _halves(kernel, axis)
        share = 1.0 / sizes[axis]
        mixed = (1.0 - share) * apart + share * agree
        kernel = _joined(mixed, mixed, axis) if keep else mixed
    return np.asarray(kernel)


def _at(axis: int, index: int) -> tuple[Any, ...]:
    """What takes one index of an axis."""
    return (*(slice(None),) * axis, index)


def _halves(kernel: Array, axis: int) -> tuple[Array, Array]:
    """The kernel where two indices differ on an axis, and where they agree, as views without that axis."""
    return kernel[_at(axis, 0)], kernel[_at(axis, 1)]


def _joined(differ: Array, agree: Array, axis: int) -> Array:
    """A kernel from its two halves of an axis; `np.stack` takes four times as long on arrays this small."""
    kernel = np.empty((*differ.shape[:axis], 2, *differ.shape[axis:]))
    kernel[_at(axis, 0)] = differ
    kernel[_at(axis, 1)] = agree
    return kernel


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
    return float(kernel.reshape(-1) @ _pair_shares(tuple(sizes)))


@lru_cache(maxsize=1024)
def _pair_shares(sizes: tuple[float, ...]) -> Array:
    """Share of each kind of pair among all pairs of entries, in the order of a flat kernel."""
    found = np.ones(1)
    for size in sizes:
        found = np.multiply.outer(found, np.array([1.0 - 1.0 / size, 1.0 / size])).reshape(-1)
    return found


def diagonal(kernel: Array) -> float:
    """E[x_I^2]."""
    return float(kernel[(1,) * kernel.ndim])


def broadcast(kernel: Array, axis: int) -> Array:
    """Kernel of the array repeated along a new axis."""
    return _joined(kernel, kernel, axis)


def merge_axes(kernel: Array, sizes: Sequence[float], axis: int) -> Array:
    """Kernel with `axis` and the one after it read as a single axis: pairs that differ there are averaged."""
    n, m = sizes[axis], sizes[axis + 1]
    (none, second), (first, both) = (_halves(half, axis) for half in _halves(kernel, axis))
    pairs = n * m - 1
    if not pairs:
        return _joined(both, both, axis)
    differ = (n - 1) * (m - 1) / pairs * none + (n - 1) / pairs * second + (m - 1) / pairs * first
    return _joined(differ, both, axis)


def split_axis(kernel: Array, axis: int) -> Array:
    """Kernel with `axis` read as two: entries agree on it only where they agree on both."""
    differ, _ = _halves(kernel, axis)
    return _joined(_joined(differ, differ, axis), kernel, axis)


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

    Accuracy:
        that of float64; of a float32 array of 65,536 entries or more 1e-6 of the mean square, since its mean over each
        first axis is taken in float32.

    Example:
        >>> measure(np.array([1.0, -1.0]))
        array([-1.,  1.])
        >>> measure(np.array([1.0, 1.0, -1.0, -1.0]), (2.0,))
        array([-1.,  1.])
    """
    axes = tuple(range(values.ndim))
    large = values.dtype == np.float32 and values.size >= _LARGE
    kernel = _energies(values if large else np.asarray(values, dtype=np.float64), axes)
    for axis, size in enumerate(values.shape if sizes is None else sizes):
        averaged, agree = _halves(kernel, axis)
        differ = agree if size == 1 else (averaged - agree / size) / (1.0 - 1.0 / size)
        kernel = _joined(differ, agree, axis)
    return kernel


def _energies(values: Array, axes: tuple[int, ...]) -> Array:
    """For each set of axes, the mean square of the array averaged over the others (axes kept have index 1)."""
    if not axes:
        return np.asarray(_energy(values.reshape(-1)) / max(values.size, 1))
    rest = axes[1:]
    averaged = _energies(np.asarray(axis_mean(values, axes[0]), dtype=np.float64), rest)
    return _joined(averaged, _energies(values, rest), 0)


def _energy(flat: Array) -> float:
    """Sum of squares in float64; of narrower numbers piece by piece, so that no copy of all of them is made."""
    if flat.dtype == np.float64:
        return float(flat.dot(flat))
    pieces = (flat[i : i + _LARGE].astype(np.float64) for i in range(0, flat.size, _LARGE))
    return sum(float(piece.dot(piece)) for piece in pieces)


def axis_mean(values: Array, axis: int) -> Array:
    """Mean over one axis, which stays with length 1; as matrix products, which are as fast on short axes."""
    shape, size = values.shape, values.shape[axis]
    left, right = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    x = np.ascontiguousarray(values).reshape(left, size, right)
    if right == 1:
        mean = x[:, :, 0] @ np.full(size, 1.0 / size, dtype=x.dtype)
    elif size * right <= _SHORT < left:
        mean = x.reshape(left, size * right) @ np.tile(np.eye(right, dtype=x.dtype) / size, (size, 1))
    elif size <= _SHORT < left:
        mean = sum(x[:, i] for i in range(size)) / size
    else:
        mean = np.full((1, size), 1.0 / size, dtype=x.dtype) @ x
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
        differ, agree = _halves(kernel, axis)
        kernel = _joined(agree + (size - 1) * differ, agree - differ, axis)
    return np.asarray(np.sqrt(np.maximum(kernel, 0.0)))


def coloured(noise: Array, roots: Array) -> Array:
    """White noise multiplied by `root_eigenvalues` along its last axes.

    What varies along an axis is what is there less its mean, so this is a sum of multiples of means of the noise.
    """
    for axis in range(roots.ndim):
        alike, varying = _halves(roots, axis)
        roots = _joined(alike - varying, varying, axis)
    shares = np.where(np.abs(roots) < _NOTHING * np.abs(roots).max(), 0.0, roots)
    return _with_means(noise, shares)


def _with_means(noise: Array, shares: Array) -> Array:
    """Sum of the noise's means over each set of its last axes, times their shares (axes of a mean have index 0)."""
    if shares.ndim == 0:
        return np.asarray(noise * float(shares))
    mean, rest = _halves(shares, 0)
    found = _with_means(noise, rest)
    if mean.any():
        found += _with_means(axis_mean(noise, noise.ndim - shares.ndim), mean)
    return found
