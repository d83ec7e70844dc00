"""Tests for structured weights: identity and orthogonal maps, read off a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.initializers import Initializer
from fanin.layout import Layout, to_blocks

__all__ = ["TESTS"]

Array = npt.NDArray[np.float64]
_TOLERANCE = 5e-3  # on Q Q' / g^2 - I; random rows of length n miss it by 1 / sqrt(n)
_ROWS = 256  # rows that are examined


def identity(values: Array, layout: Layout) -> tuple[Initializer | None, str] | None:
    """A multiple of the identity (rectangular: with zero rows or columns)."""
    from fanin.initializers import Identity

    if values.ndim != 2:
        return None
    gain = float(values[0, 0])
    if gain == 0.0 or not (values == gain * np.eye(*values.shape)).all():
        return None
    return Identity(gain=gain), f"{gain:g} times the identity"


def orthogonal(values: Array, layout: Layout) -> tuple[Initializer | None, str] | None:
    """Orthogonal rows or columns of equal length in every map inside the weight."""
    from fanin.initializers import Orthogonal

    gain = _common_gain(values, layout)
    if gain is None:
        return None
    return Orthogonal(gain=gain), f"orthogonal with gain {gain:.4g}"


def _common_gain(values: Array, layout: Layout) -> float | None:
    try:
        blocks = to_blocks(values, layout)
    except ValueError:
        return None
    gains = []
    for block in blocks:
        for matrix in block.reshape(block.shape[0], block.shape[1], -1)[:4]:
            gain = _gain(matrix)
            if gain is None:
                return None
            gains.append(gain)
    mean = float(np.mean(gains))
    return mean if gains and float(np.ptp(gains)) < _TOLERANCE * mean else None


def _gain(matrix: Array) -> float | None:
    q = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)[:_ROWS].astype(np.float64)  # squares may be large
    if len(q) < 2:
        return None
    lengths = np.linalg.norm(q, axis=1)
    length = float(lengths.mean())
    if length == 0.0 or float(np.ptp(lengths)) > _TOLERANCE * length:
        return None
    gram = q @ q.T / length**2
    return length if float(np.abs(gram - np.eye(len(q))).max()) < _TOLERANCE else None


_Test = Callable[[Any, Layout], "tuple[Initializer | None, str] | None"]
TESTS: tuple[_Test, ...] = (identity, orthogonal)
