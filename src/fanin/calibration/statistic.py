"""The size of one output: root mean square of all numbers, or one that a few wild samples cannot move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from fanin.measure.sampling import as_samples
from fanin.tensors.values import wide_enough

__all__ = ["Size", "Statistic", "rms_of", "size_of"]

Statistic = Literal["robust", "rms"]

_PIECE = 1 << 17  # elements that are squared in float64 at a time
_NARROW_PIECE = 1 << 20  # elements of half precision that are held in float32 at a time
_PROBED = 32  # samples that show whether channels are dead
_LEAST_SAMPLES = 8  # from which a median says what most samples are
_MOST_TIMES = 4.0  # the median: what the mean square of one sample counts for at most
_SIGMAS = 8.0  # or so many standard deviations of the mean square of few Gaussian numbers, where that is more
_HEAVY = 0.2  # relative difference between the two statistics that is told
_NOTHING = 1e-24  # energy of a channel, relative to the mean over channels, that counts as none
_ALIVE = np.ones(1)  # energies of channels of which few are zero: no one asks for more


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large an output is.

    Attributes:
        value: the statistic; of the live channels alone where half of them or more are constant.
        rms: root mean square of all numbers.
        samples: how many samples the statistic is over; 1 where it is not known which axis counts them.
        robust: no sample counts for more than a few times the median.
        dead_share: share of channels that are zero everywhere.
    """

    value: float
    rms: float
    samples: int
    robust: bool
    dead_share: float

    @property
    def heavy_tailed(self) -> bool:
        """Whether a few samples hold most of the energy."""
        return self.robust and self.value > 0.0 and abs(self.rms / self.value - 1.0) > _HEAVY


def size_of(x: torch.Tensor, *, batch: int | None, channel: int, statistic: Statistic) -> Size:
    """Reduce an output piece by piece; the result does not depend on the number of threads.

    Args:
        x: the output of an operation.
        batch: number of samples of the batch, None if unknown.
        channel: axis that counts units.
        statistic: "rms": root mean square of all numbers. "robust": likewise, where the mean square of a sample counts
            for at most 4 times the median over samples (more where a sample has few numbers); "rms" below 8 samples.

    Accuracy:
        1e-5 relative (sums over one sample and channel are in float32, all others in float64). Data without wild
        samples have the same size in both statistics, which a median alone would not give: samples may differ in size.
        The median of n Gaussian numbers a sample is (1 - 2 / (9 n))^3 of the mean square (Wilson and Hilferty 1931),
        which is divided out.

    Example:
        >>> x = torch.ones(16, 100)
        >>> x[0] = 1000.0
        >>> round(size_of(x, batch=16, channel=-1, statistic="robust").value, 2)
        1.09
        >>> round(size_of(x, batch=16, channel=-1, statistic="rms").value, 1)
        250.0
    """
    channel = channel % x.dim() if x.dim() else 0
    samples = as_samples(x, batch)
    turned = samples is not None and samples.shape[0] == x.shape[1] and samples.shape[0] != x.shape[0]
    grouped = samples is not None and samples.dim() != x.dim()
    rows = x.reshape(1, 1) if not x.dim() else x if samples is None else samples
    axis = channel + 1 if grouped else {0: 1, 1: 0}.get(channel, channel) if turned else channel
    by_sample, by_channel, ends = _energies(rows, axis)
    numbers = x.numel() / max(len(by_sample), 1)
    total = float(by_sample.sum())
    dead = _dead(by_channel)
    live = 1.0 - dead if dead >= 0.5 else 1.0
    rms = math.sqrt(total / x.numel()) if x.numel() else 0.0
    robust = statistic == "robust" and samples is not None and len(by_sample) >= _LEAST_SAMPLES
    square = total / max(x.numel(), 1)
    if robust and (less := _without_wild(by_sample / numbers, numbers * live, ends)) is not None:
        square, robust = (less, True) if less > 0.0 else (square, False)  # most samples are zero
    return Size(
        value=math.sqrt(square / live) if live > 0.0 else 0.0,
        rms=rms,
        samples=len(by_sample) if samples is not None else 1,
        robust=robust,
        dead_share=dead,
    )


def rms_of(x: torch.Tensor) -> float:
    """Root mean square of all numbers of a tensor, in float64."""
    if not x.numel() or not x.is_floating_point():
        return 0.0
    return size_of(x, batch=None, channel=-1, statistic="rms").rms


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _energies(x: torch.Tensor, channel: int) -> tuple[Array, Array, tuple[float, float]]:
    """Sum of squares of each index of axis 0, and of each channel; the least and the largest of the former.

    Added up in float32 where nothing overflows or vanishes there, which costs one pass over the numbers, else in
    float64.
    """
    found = _fast_energies(x, channel)
    if found is not None:
        ends = _ends(found[0])
        if ends[0] > 0.0 and ends[1] < math.inf:
            return *found, ends
    exact = _exact_energies(x, channel)
    return *exact, _ends(exact[0])


def _ends(numbers: Array) -> tuple[float, float]:
    return (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)


def _fast_energies(x: torch.Tensor, channel: int) -> tuple[Array, Array] | None:
    """The same from norms in float32; None for an axis that counts both samples and channels, or for wide numbers."""
    if not channel or x.dtype.itemsize > 4 or not x.numel():
        return None
    own = x.detach()
    step = max(1, _NARROW_PIECE * own.shape[0] // own.numel())
    pieces = [own] if step >= own.shape[0] else [own[first : first + step] for first in range(0, own.shape[0], step)]
    between = [d for d in range(1, x.dim()) if d != channel]
    if between:  # one number for each sample and channel
        table = _joined([_norms(p, between) for p in pieces]).double().square()
        return _numbers(table.sum(1)), _numbers(table.sum(0))
    rows = np.square(_numbers(_joined([_norms(p, [1]) for p in pieces])), dtype=np.float64)
    if _most_live(own):
        return rows, _ALIVE
    return rows, sum(np.square(_numbers(_norms(p, [0])), dtype=np.float64) for p in pieces)


def _most_live(x: torch.Tensor) -> bool:
    """Whether more than half of the columns hold a number other than zero, seen on the first row, or a few rows."""
    most = x.shape[1] / 2
    if x.device.type == "cpu" and int(torch.count_nonzero(x[0])) > most:
        return True
    return int(torch.count_nonzero((x[:_PROBED] != 0).any(0))) > most


def _norms(x: torch.Tensor, axes: list[int]) -> Any:
    return torch.linalg.vector_norm(wide_enough(x), dim=axes, dtype=torch.float32)


def _joined(pieces: Sequence[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))


def _numbers(x: torch.Tensor) -> Any:
    """What was computed here as an array; nobody else has it, so that its storage need not stay resizable."""
    return x.cpu().numpy()


def _exact_energies(x: torch.Tensor, channel: int) -> tuple[Array, Array]:
    step = max(1, _PIECE * x.shape[0] // max(x.numel(), 1))
    rows, channels = [], torch.zeros(x.shape[channel], dtype=torch.float64, device=x.device)
    others = [d for d in range(x.dim()) if d != channel]
    for first in range(0, x.shape[0], step):
        squares = wide_enough(x.detach()[first : first + step]).double().square()
        rows.append(squares.flatten(1).sum(1) if x.dim() > 1 else squares)
        if channel:
            channels += squares.sum(others)
    found = _numbers(torch.cat(rows) if rows else torch.zeros(0, dtype=torch.float64))
    return found, _numbers(channels) if channel else found


def _dead(by_channel: Array) -> float:
    if by_channel.size < 2 or not np.isfinite(by_channel).all():
        return float(by_channel.size == 1 and by_channel[0] == 0.0)
    return float(np.mean(by_channel <= _NOTHING * by_channel.mean()))


def _without_wild(squares: Array, numbers: float, ends: tuple[float, float]) -> float | None:
    """Mean over samples of their mean squares, none of them above a multiple of the median that chance does not reach.

    Args:
        squares: mean square of each sample.
        numbers: how many numbers a sample has.
        ends: the least and the largest of them, up to a factor.

    Returns:
        The mean; None where it is the plain mean, since none of them is above.
    """
    most = max(_MOST_TIMES, 1.0 + _SIGMAS * math.sqrt(2.0 / max(numbers, 1.0)))
    if not math.isfinite(ends[1]) or ends[1] <= most * ends[0]:  # the median is not below the smallest
        return None
    middle = float(np.median(squares)) / (1.0 - 2.0 / (9.0 * max(numbers, 1.0))) ** 3
    return float(np.minimum(squares, most * middle).mean())
