"""Moments and histograms of one tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from fanin.measure.record import Histogram, TensorStats
from fanin.measure.sampling import SAMPLE, strided
from fanin.memory import as_array
from fanin.tensors.values import wide_enough

__all__ = ["Packed", "pack", "pack_signal", "unpack"]

_LARGE, _FEW = 1 << 18, 1 << 12  # elements of a large signal, and how many of it are in its sample
_BINS = 256  # float32 exponents
_LINEAR_LOW, _LINEAR_WIDTH, _LINEAR_BINS = -4.0, 0.25, 32


class Packed:
    """Two numbers and a sample of one tensor, on its device, so that a GPU is not made to wait at every operation.

    `unpack` turns them into a record.
    """

    __slots__ = ("numel", "sample", "sizes")

    def __init__(self, numel: int, sizes: torch.Tensor, sample: torch.Tensor) -> None:
        self.numel: int = numel
        self.sizes: torch.Tensor = sizes
        self.sample: torch.Tensor = sample


def pack(x: torch.Tensor, budget: int = SAMPLE) -> Packed | TensorStats | None:
    """Reduce a floating tensor to a handful of numbers; None for an empty one.

    The norm is over all elements (it is the cheapest full reduction and shows any NaN or infinity); the rest is over a
    strided sample.

    Args:
        x: the tensor.
        budget: most elements of the sample.

    Accuracy:
        rms over all elements to 5e-4 (torch sums a norm in float32; 1.3e-4 seen at 5e6 elements), the rest to the
        sampling error: 0.55 % for the std of a Gaussian from 16,384 elements. The std of more than 262,144 elements
        is that of the rms and the sample's mean, unless the mean is most of it.
    """
    if x.numel() == 0:
        return None
    with torch.no_grad():
        x = wide_enough(x.detach())
        norm = torch.linalg.vector_norm(x, dtype=torch.float32 if x.dtype.itemsize < 4 else None)
        sample = strided(x, budget)
        if x.is_cuda:
            sizes = torch.stack([norm.double(), torch.linalg.vector_norm(x, torch.inf).double()])
            return Packed(x.numel(), sizes, sample.clone())
        size = norm.item()
        # A finite tensor can have a norm that overflows float32; only then are all elements examined.
        bad = not math.isfinite(size) and not bool(torch.isfinite(x).all())
        # Small tensors kept between large ones would fragment the CPU's heap; numbers do not.
        return _reduced(x.numel(), size, bad, sample)


def pack_signal(x: torch.Tensor) -> Packed | TensorStats | None:
    """`pack` of an output or of its gradient: of more than 262,144 elements, a sample of 4,096.

    Not of numbers of two bytes, whose tails are counted to see whether they overflow.
    """
    return pack(x, _FEW if x.numel() > _LARGE and x.dtype.itemsize >= 4 else SAMPLE)


def unpack(packed: Packed | TensorStats | None) -> TensorStats | None:
    """The packed numbers as a record."""
    if packed is None or isinstance(packed, TensorStats):
        return packed
    norm, largest = packed.sizes.tolist()
    return _reduced(packed.numel, norm, not math.isfinite(largest), packed.sample)


def _reduced(numel: int, norm: float, any_nonfinite: bool, sample: torch.Tensor) -> TensorStats:
    """The record of a tensor of `numel` elements with this norm, from a sample of it."""
    x = np.ascontiguousarray(as_array((sample if sample.dtype.itemsize >= 4 else sample.float()).cpu()))
    wide = x if x.dtype == np.float64 else x.astype(np.float64)
    energy, missing = float(wide.dot(wide)), 0
    if not math.isfinite(energy):
        finite = np.isfinite(x)
        missing = int(finite.size - finite.sum())
        x, wide = np.where(finite, x, 0), np.where(finite, wide, 0.0)
        energy = float(wide.dot(wide))
    n = max(x.size - missing, 1)
    square, mean = energy / n, float(np.add.reduce(wide)) / n
    low, high = float(np.minimum.reduce(x)), float(np.maximum.reduce(x))
    # The norm is over all elements; where it overflows, or its squares underflow, the sample is used.
    rms = norm / math.sqrt(numel) if math.isfinite(norm) and norm > 1e-18 else math.sqrt(square)
    # Few entries may hold most of a large gradient; but where the mean does, the rest is lost in the norm's rounding.
    energy_of_all = rms * rms if numel > _LARGE and 2.0 * mean * mean <= rms * rms else square
    return TensorStats(
        numel=numel,
        sampled=x.size,
        rms=rms,
        mean=mean,
        std=math.sqrt(max(energy_of_all - mean * mean, 0.0)),
        min=low,
        max=high,
        zero_share=(x.size - int(np.count_nonzero(x)) - missing) / n,
        num_nonfinite=missing,
        any_nonfinite=any_nonfinite,
        norm=norm if math.isfinite(norm) else None,
        exponents=_exponents(x, missing),
        values=_values(wide, missing, math.sqrt(energy / x.size), low, high),
    )


def _exponents(x: Any, missing: int) -> Histogram | None:
    """Counts of binary exponents; the `missing` elements, which are zeros here, are not counted."""
    if x.dtype != np.float32:
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
    counts = np.bincount((x.view(np.uint32) << 1) >> 24, minlength=_BINS)  # without the sign
    zeros, rest = int(counts[0]) - missing, counts[1 : _BINS - 1]
    used = rest.nonzero()[0]
    if not used.size:
        return None if not zeros else Histogram(scale="log2", low=0.0, width=1.0, counts=(), under=zeros)
    low, high = int(used[0]), int(used[-1])
    return Histogram(scale="log2", low=low - 126.0, width=1.0, counts=tuple(rest[low : high + 1].tolist()), under=zeros)


def _values(x: Any, missing: int, rms: float, low: float, high: float) -> Histogram:
    """Counts over equal bins in units of the sample's rms, of elements from `low` to `high`."""
    width, first = max(rms, 1e-300) * _LINEAR_WIDTH, 1.0 - _LINEAR_LOW / _LINEAR_WIDTH
    bins = x / width
    bins += first
    if low / width + first < 0.0 or high / width + first >= _LINEAR_BINS + 2.0:
        np.maximum(bins, 0.0, out=bins)
        np.minimum(bins, _LINEAR_BINS + 1.0, out=bins)
    counts = np.bincount(bins.astype(np.intp), minlength=_LINEAR_BINS + 2)
    counts[int(first)] -= missing
    under, *inside, over = counts.tolist()
    return Histogram(scale="linear", low=_LINEAR_LOW, width=_LINEAR_WIDTH, counts=tuple(inside), under=under, over=over)
