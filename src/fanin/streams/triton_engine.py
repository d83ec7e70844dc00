"""Launching the Triton kernels on CUDA tensors."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from fanin.streams.geometry import Walk
from fanin.streams.keys import Key
from fanin.streams.law import Law

if TYPE_CHECKING:
    import torch

__all__ = ["can_fill", "fill_flat"]

_BLOCKS = 256  # Philox blocks of one program
_AXES = 4
_TINY_WIDTH = 2.0**-100  # below, a GPU might flush what the CPU keeps


@functools.cache
def _kernels() -> Any:
    """The module of kernels, or None where Triton cannot be imported."""
    try:
        from fanin.streams import triton_kernels
    except ImportError:
        return None
    return triton_kernels


def can_fill(law: Law, walk: Walk) -> bool:
    """Whether the kernels can do it: Triton is there, the law is drawn in float32, and the walk has few axes."""
    exact = law.width == 0.0 or law.width > _TINY_WIDTH
    return not law.double and exact and len(walk.shape) <= _AXES and _kernels() is not None


def fill_flat(flat: torch.Tensor, law: Law, key: Key, walk: Walk) -> None:
    """Write the numbers of a walk into a one-dimensional CUDA tensor, in one launch and without temporaries.

    Args:
        flat: contiguous, of the law's real dtype; element 0 is where the walk starts.
        law: what to draw; see `can_fill`.
        key: the stream.
        walk: which elements, and where they go.
    """
    import torch

    total = math.prod(walk.shape)
    brain = flat.dtype == torch.bfloat16
    out = flat.view(torch.int16) if brain else flat
    window = law.window or (0, 0)
    common = (
        *(out, total, walk.start, key.key64 & 0xFFFFFFFF, key.key64 >> 32, key.c2, key.c3, *window),
        *(max(law.lower, -64.0), min(law.upper, 64.0), law.width, law.shift),
    )
    modes = {"uniform": law.kind == "uniform", "brain": brain, "enable_fp_fusion": False}
    kernels = _kernels()
    if walk.run == 0 and walk.dense:
        programs = -(-(total + 3) // (4 * _BLOCKS)) + 1
        kernels.fill_dense[(programs,)](*common, **modes, blocks=_BLOCKS)
        return
    pad = _AXES - len(walk.shape)
    shape, strides, steps = (
        (*(fill,) * pad, *axes) for fill, axes in ((1, walk.shape), (0, walk.strides), (0, walk.steps))
    )
    programs = -(-total // (4 * _BLOCKS))
    kernels.fill_strided[(programs,)](*common, *shape[1:], *strides, *steps, **modes, size=4 * _BLOCKS)
