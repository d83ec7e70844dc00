"""Where the middle of a kernel is."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from fanin.initializers.base import Array

__all__ = ["Centre", "at_centre", "centre_index", "centre_taps"]

Centre = Literal["same", "half"]


def centre_index(taps: tuple[int, ...], centre: Centre) -> int:
    """Flat index of the tap that reads the input at the output's own position.

    "same": (k - 1) // 2 on each axis, where ``padding="same"`` of torch, Keras and JAX puts it (they pad less on the
    left for even k). "half": k // 2, right for ``padding=k // 2``. For odd k the two agree.

    Example:
        >>> centre_index((3, 3), "same"), centre_index((4,), "same"), centre_index((4,), "half")
        (4, 1, 2)
    """
    if not taps:
        return 0
    middle = [(k - 1) // 2 if centre == "same" else k // 2 for k in taps]
    return int(np.ravel_multi_index(middle, taps))


def at_centre(matrix: Array, taps: tuple[int, ...], centre: Centre) -> Array:
    """(maps, out, in) matrices put at the centre of a kernel of zeros (maps, out, in, num_taps)."""
    kernel = np.zeros((*matrix.shape, math.prod(taps)), matrix.dtype)
    kernel[..., centre_index(taps, centre)] = matrix
    return kernel


def centre_taps(taps: tuple[int, ...], centre: Centre) -> Array:
    """1 at the centre of a kernel and 0 elsewhere, flat.

    Example:
        >>> centre_taps((3,), "same").tolist()
        [0.0, 1.0, 0.0]
    """
    kernel = np.zeros(math.prod(taps))
    kernel[centre_index(taps, centre)] = 1.0
    return kernel
