"""Spectral norms: of a weight over that of its shape, and of a first update over that of its weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fanin.layout import Layout, to_blocks
from fanin.memory import as_array
from fanin.tensors.values import finite, readable

__all__ = ["matrices", "spectral_norm", "spectral_ratio", "step_ratio"]

_ROUNDS = 8
_SMALL = 1e-12  # below it and above its inverse squares of float32 may leave their range
_BLOCK = 1 << 18  # elements of a matrix that stay in a core's own memory between two products
_LARGEST = 1 << 22  # elements of a weight that is looked at: 25 ms of one core
_MOST_MATRICES = 64  # experts or groups of a weight; one a channel says nothing of a matrix


def spectral_norm(matrix: npt.NDArray[Any], rounds: int = _ROUNDS) -> float:
    """The largest singular value of a matrix by power iteration: a lower bound, within a few per cent after 8 rounds.

    Args:
        matrix: of shape (out, in).
        rounds: of the iteration.

    Example:
        >>> round(spectral_norm(np.diag([3.0, 1.0])), 3)
        3.0
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size = _iterated(matrix, rounds)
        if _SMALL < size < 1.0 / _SMALL:
            return size
        largest = float(np.abs(matrix).max(initial=0.0))  # squares left the range of the numbers
        return largest * _iterated(matrix / largest, rounds) if 0.0 < largest < math.inf else largest


def _iterated(matrix: npt.NDArray[Any], rounds: int) -> float:
    vector: npt.NDArray[Any] = np.asarray(np.random.default_rng(0).standard_normal(matrix.shape[1]), dtype=matrix.dtype)
    size = 0.0
    for _ in range(rounds):
        length = float(np.linalg.norm(vector))
        if not 0.0 < length < math.inf:
            return 0.0 if length == 0.0 else math.nan
        size, vector = _there_and_back(matrix, vector / length)
    return size


def _there_and_back(matrix: npt.NDArray[Any], vector: npt.NDArray[Any]) -> tuple[float, npt.NDArray[Any]]:
    """|M v| and M^T M v; some rows at a time, which are read from memory once for both products."""
    rows = max(1, _BLOCK // matrix.shape[1])
    square, back = 0.0, np.zeros_like(vector)
    for start in range(0, matrix.shape[0], rows):
        block = matrix[start : start + rows]
        out = block @ vector
        square += float(out @ out)
        back += out @ block
    return math.sqrt(square), back


def matrices(weight: npt.NDArray[Any], layout: Layout) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
    """Part, index of the expert or group, and matrix (out, in times taps) of every map inside a weight."""
    for part, block in enumerate(to_blocks(weight, layout)):
        for index, one in enumerate(block):
            yield part, index, one.reshape(one.shape[0], -1)


def spectral_ratio(weight: torch.Tensor, layout: Layout | None) -> float | None:
    """R = |W|_2 / sqrt(out / in), the largest over parts and experts; None where a weight is no matrix, or too large.

    A Gaussian weight of std 1 / sqrt(in) has about 1 + sqrt(in / out): a fact of its shape.

    Example:
        >>> round(spectral_ratio(3.0 * torch.eye(8), Layout.linear()), 3)
        3.0
    """
    found = _arrays(layout, weight)
    if found is None or layout is None:
        return None
    ratios = [spectral_norm(m) / math.sqrt(m.shape[0] / m.shape[1]) for _, _, m in matrices(found[0], layout)]
    return _largest(ratios)


def step_ratio(weight: torch.Tensor, change: torch.Tensor, layout: Layout | None) -> float | None:
    """U = |dW|_2 / |W|_2, the largest over parts and experts; None where a weight is no matrix, zero, or too large.

    Args:
        weight: before the step.
        change: what the step adds to it.
        layout: what its axes mean.
    """
    found = _arrays(layout, weight, change)
    if found is None or layout is None:
        return None
    pairs = zip(*(matrices(array, layout) for array in found), strict=True)
    sizes = [(spectral_norm(w), spectral_norm(d)) for (_, _, w), (_, _, d) in pairs]
    return _largest([step / size for size, step in sizes if size > 0.0])


def _largest(ratios: list[float]) -> float | None:
    return max(ratios) if ratios and all(map(math.isfinite, ratios)) else None


def _arrays(layout: Layout | None, *tensors: torch.Tensor) -> list[npt.NDArray[Any]] | None:
    """The numbers in float32; None where a tensor is none that is looked at."""
    if layout is None or not layout.in_axes or not layout.out_axes:
        return None
    for t in tensors:
        if not 0 < t.numel() <= _LARGEST or t.is_meta or not readable(t) or not t.is_floating_point() or not finite(t):
            return None
    arrays = [as_array(t.detach().float().cpu()) for t in tensors]
    few = sum(len(block) for block in to_blocks(arrays[0], layout)) <= _MOST_MATRICES
    return arrays if few else None
