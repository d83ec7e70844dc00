"""``conv_general_dilated`` in torch: every layout, grouping, padding and dilation, and transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from fanin.errors import CaptureError

__all__ = ["convolution"]

_FORWARD: Mapping[int, Callable[..., torch.Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, Callable[..., torch.Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def convolution(p: Mapping[str, Any], x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution with JAX's settings.

    Args:
        p: parameters of the equation.
        x: input, its axes as the first specification says.
        weight: kernel, its axes as the second says.

    Raises:
        CaptureError: more than three axes of taps, groups over the batch, or an input dilated with groups over it.
    """
    numbers = p["dimension_numbers"]
    taps = x.dim() - 2
    if taps not in _FORWARD or p["batch_group_count"] != 1:
        raise CaptureError("a convolution over more than three axes, or with groups of the batch, is not followed")
    image, kernel = x.permute(tuple(numbers.lhs_spec)), weight.permute(tuple(numbers.rhs_spec))
    made = _upsampled(p, image, kernel) if any(n > 1 for n in p["lhs_dilation"]) else _plain(p, image, kernel)
    out = tuple(numbers.out_spec)
    return made.permute([out.index(axis) for axis in range(len(out))])


def _plain(p: Mapping[str, Any], x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    pads = [tuple(int(n) for n in pair) for pair in p["padding"]]
    if all(low == high >= 0 for low, high in pads):
        padding = [low for low, _ in pads]
    else:
        x, padding = _padded(x, pads), [0] * len(pads)
    return _FORWARD[len(pads)](
        x,
        weight,
        None,
        list(p["window_strides"]),
        padding,
        list(p["rhs_dilation"]),
        int(p["feature_group_count"]),
    )


def _padded(x: torch.Tensor, pads: Sequence[Sequence[int]]) -> torch.Tensor:
    """Zeros around the last axes; negative widths cut."""
    return F.pad(x, [n for low, high in reversed(pads) for n in (low, high)])


def _upsampled(p: Mapping[str, Any], x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A convolution over an input with zeros between its pixels: torch's transposed convolution, cut to size."""
    groups = int(p["feature_group_count"])
    out, inputs, *taps = weight.shape
    flipped = weight.flip(tuple(range(2, weight.dim())))
    turned = (
        flipped.transpose(0, 1)
        if groups == 1
        else flipped.reshape(groups, out // groups, inputs, *taps).transpose(1, 2).reshape(-1, out // groups, *taps)
    )
    strides, dilation = list(p["lhs_dilation"]), list(p["rhs_dilation"])
    reach = [d * (t - 1) for d, t in zip(dilation, taps, strict=True)]
    pads = [(int(low) - r, int(high) - r) for (low, high), r in zip(p["padding"], reach, strict=True)]
    cut = [-low if low == high and low <= 0 else 0 for low, high in pads]
    made = _TRANSPOSED[len(taps)](x, turned, None, strides, cut, 0, groups, dilation)
    rest = [(low + c, high + c) for (low, high), c in zip(pads, cut, strict=True)]
    made = _padded(made, rest) if any(low or high for low, high in rest) else made
    places: Any = (..., *(slice(None, None, int(s)) for s in p["window_strides"]))
    cut_out: torch.Tensor = made[places]
    return cut_out
