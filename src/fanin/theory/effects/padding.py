"""Zero padding: at the border a convolution has fewer inputs than its fan says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fanin.errors import TheoryError

__all__ = ["effective_taps"]


def effective_taps(
    size: Sequence[int],
    kernel: Sequence[int],
    *,
    padding: Sequence[int],
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
) -> float:
    """Mean number of taps inside the input, over all outputs: fan_in / in_channels less the padding's share.

    Args:
        size: input size per axis.
        kernel: taps per axis.
        padding: zeros added at each end, per axis.
        stride: step per axis, 1 if left out.
        dilation: spacing of taps per axis, 1 if left out.

    Returns:
        A number in (0, prod(kernel)]; exact, by counting.

    Example:
        >>> effective_taps((4, 4), (3, 3), padding=(1, 1))  # 2.5 of 3 taps on each axis
        6.25
    """
    axes = len(size)
    stride, dilation = stride or [1] * axes, dilation or [1] * axes
    if not len(kernel) == len(padding) == len(stride) == len(dilation) == axes:
        raise TheoryError(
            f"one number per axis is needed; size has {axes}, kernel {len(kernel)}, padding {len(padding)}"
        )
    return math.prod(_taps_inside(*axis) for axis in zip(size, kernel, padding, stride, dilation, strict=True))


def _taps_inside(size: int, kernel: int, padding: int, stride: int, dilation: int) -> float:
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    if outputs < 1:
        raise TheoryError(f"a kernel of {kernel} taps does not fit an axis of {size} with padding {padding}")
    at = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation - padding
    return float(((at >= 0) & (at < size)).sum(axis=1).mean())
