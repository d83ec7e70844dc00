"""Units that start as copies of one another."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from fanin.memory import as_array
from fanin.tensors.values import wide_enough

__all__ = ["identical_rows", "stay_equal"]

_ROWS, _COLUMNS, _FEW = 4096, 256, 8
_ROUNDED = 1e-4  # of the largest number of a gradient, which sums over samples round


def identical_rows(weight: torch.Tensor, units: tuple[int, ...] = (0,)) -> float | None:
    """Share of rows (units, all other axes flattened) that equal another row.

    Args:
        weight: two or more axes.
        units: the axes that count outputs: 0 in nn.Linear, 1 in x @ W and in transposed convolutions.

    The first 4096 rows and at most 256 evenly spread columns are compared.

    Rows that are all zero are left out (a gate closed by design), and so are weights of fewer than 4 rows or a single
    column, where equality says nothing.

    Example:
        >>> identical_rows(torch.ones(8, 5)), identical_rows(torch.randn(8, 1).expand(8, 5), units=(1,))
        (1.0, 1.0)
    """
    if weight.dim() < 2 or weight.numel() == 0 or len(units) == weight.dim() or max(units) >= weight.dim():
        return None
    with torch.no_grad():
        moved = wide_enough(weight.detach()).movedim(units, tuple(range(len(units))))
        moved = moved.flatten(0, len(units) - 1)[:_ROWS] if len(units) > 1 else moved[:_ROWS]
        if len(moved) < 4 or moved[0].numel() < 2:
            return None
        if _all_differ(as_array(moved[:, :_FEW].flatten(1)[:, :_FEW].double().cpu())):
            return 0.0
        rows = moved.flatten(1)
        rows = rows[:, :: -(-rows.shape[1] // _COLUMNS)]
        key = _keys(rows)
        alive = (rows != 0).any(dim=1) & torch.isfinite(key)
        if int(alive.sum()) < 4:
            return None
        _, counts = torch.unique(key[alive], return_counts=True)
        return float((counts[counts > 1].sum() / alive.sum()).item())


def stay_equal(rows: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """Whether all rows of a table of tokens are equal, and get one and the same gradient: they cannot become different.

    Rows are counted by the first axis of two or more; a gradient of zero tells nothing.

    Example:
        >>> stay_equal(torch.zeros(1, 4, 3), torch.ones(1, 4, 3)), stay_equal(torch.zeros(4, 3), torch.randn(4, 3))
        (True, False)
    """
    axis = next((i for i, n in enumerate(rows.shape) if n > 1), None)
    if axis is None or axis + 1 >= rows.dim() or gradient is None or gradient.shape != rows.shape:
        return False
    with torch.no_grad():
        first, pulled = rows.detach().select(axis, 0).unsqueeze(axis), gradient.detach()
        size = float(pulled.abs().max()) if pulled.layout is torch.strided else 0.0
        if not bool((rows == first).all()) or not math.isfinite(size) or size == 0.0:
            return False
        return bool((pulled - pulled.mean(axis, keepdim=True)).abs().max() <= _ROUNDED * size)


def _keys(rows: torch.Tensor) -> torch.Tensor:
    """One number per row: equal rows have equal ones, and rows of independent entries never do."""
    probe = torch.cos(torch.arange(rows.shape[1], device=rows.device, dtype=torch.float64))
    return (rows.double() * probe).sum(1)


def _all_differ(columns: npt.NDArray[np.float64]) -> bool:
    """Whether a few columns tell all rows apart, none of which is zero there."""
    with np.errstate(all="ignore"):
        keys = (columns * np.cos(np.arange(columns.shape[1]))).sum(axis=1)
    keys = keys[np.isfinite(keys) & (columns != 0.0).any(axis=1)]
    return len(keys) == len(columns) and bool(np.diff(np.sort(keys)).all())
