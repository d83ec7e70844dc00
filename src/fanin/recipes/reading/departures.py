"""How the numbers of a tensor depart from a law: moments, bound, rows, orthogonality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.initializers import Initializer, Orthogonal, Sparse
from fanin.layout import Layout, to_blocks
from fanin.recipes.reading.statistics import Summary, summary, twin_rows, unit_rows

__all__ = ["Mismatch", "departures", "orthogonality_error"]

Array = npt.NDArray[Any]
_ORTHOGONAL_TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 2e-2, "float16": 4e-3}
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-10}
_CHANCE = 1e-12  # rows that are equal by chance with more than this probability are no evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One way in which a tensor is not what the plan says.

    Attributes:
        name: qualified parameter name.
        quantity: "shape", "mean", "variance", "bound", "orthogonality", "rows", "values", "bits", "tie", "missing".
        expected: what the plan says.
        measured: what the tensor is.
        z: distance in standard errors; nan where the comparison is exact.
    """

    name: str
    quantity: str
    expected: float | str
    measured: float | str
    z: float = math.nan

    def __str__(self) -> str:
        show = [f"{v:.6g}" if isinstance(v, float) else str(v) for v in (self.expected, self.measured)]
        far = "" if math.isnan(self.z) else f", {abs(self.z):.1f} standard errors away"
        return f"{self.name}: {self.quantity} {show[1]}, planned {show[0]}{far}"


def departures(
    name: str,
    values: Array,
    law: Initializer,
    layout: Layout | None,
    dtype: str,
    z: float,
    *,
    zero_rows: Sequence[int] = (),
) -> Iterator[Mismatch]:
    """How values depart from a law: mean and variance in standard errors, the bound, its rows, orthogonality.

    The standard error of the mean is std / sqrt(n), of the variance var sqrt((kurtosis - 1) / n); n is the number of
    elements. Laws whose entries are not independent have smaller ones, so the test is not sharper than stated for
    them, only safer. Under a law of independent entries, two equal rows or a row of zeros have probability 0.

    Args:
        name: for the messages.
        values: the whole tensor, real or complex; every number of it is looked at.
        law: the planned law.
        layout: what the axes mean.
        dtype: of the tensor the values came from; it sets the rounding that is allowed.
        z: tolerance in standard errors.
        zero_rows: rows of the first axis that must be zero (padding); the law says nothing of them.

    Example:
        >>> from fanin.initializers import Normal
        >>> [m.quantity for m in departures("w", np.zeros((8, 8)), Normal(std=1.0), None, "float32", 5.0)]
        ['variance', 'rows']
    """
    if values.size == 0:
        return
    if zero_rows:
        wrong = [i for i in zero_rows if values[i].any()]
        if wrong:
            yield Mismatch(name=name, quantity="rows", expected="zero (padding)", measured=f"numbers in row {wrong[0]}")
    rest = np.delete(values, list(zero_rows), axis=0) if zero_rows else values
    if rest.size == 0:
        return
    found = summary(rest)
    if not found.finite:
        yield Mismatch(name=name, quantity="values", expected="finite", measured="NaN or infinite")
        return
    want = law.moments(values.shape, layout)
    eps = _EPS.get(dtype, 2.0**-23)
    if want.var == 0.0:
        off = max(abs(found.low - want.mean), abs(found.high - want.mean), key=abs)
        if off > eps * max(abs(want.mean), 1e-30):
            yield Mismatch(name=name, quantity="values", expected=want.mean, measured=want.mean + off)
        return
    yield from _moments(name, found, want, eps, z)
    yield from _rows(name, values, law, layout, eps, zero_rows)
    yield from _orthogonality(name, rest, law, layout, dtype)


def _moments(name: str, found: Summary, want: Any, eps: float, z: float) -> Iterator[Mismatch]:
    n = found.count
    z_mean = (found.mean - want.mean) / (want.std / math.sqrt(n) + eps * want.std)
    if abs(z_mean) > z:
        yield Mismatch(name=name, quantity="mean", expected=want.mean, measured=found.mean, z=z_mean)
    kurtosis = want.kurtosis if math.isfinite(want.kurtosis) else 3.0
    var = found.var_about(want.mean)
    z_var = (var - want.var) / (want.var * (math.sqrt(max(kurtosis - 1.0, 0.0) / n) + 2 * eps))
    if abs(z_var) > z:
        yield Mismatch(name=name, quantity="variance", expected=want.var, measured=var, z=z_var)
    if want.bound is not None and found.top > want.bound * (1 + 2 * eps):
        yield Mismatch(name=name, quantity="bound", expected=want.bound, measured=found.top)


# ---------------------------------------------------------------------- rows
def _rows(
    name: str, values: Array, law: Initializer, layout: Layout | None, eps: float, skip: Sequence[int]
) -> Iterator[Mismatch]:
    if not law.breaks_symmetry or isinstance(law, Sparse):
        return
    rows = unit_rows(values, layout)
    if rows is None or not _rows_tell(len(rows), rows.shape[1], eps):
        return
    found = twin_rows(rows, skip)
    if isinstance(found, int):
        yield Mismatch(name=name, quantity="rows", expected="random numbers", measured=f"zeros in row {found}")
    elif found is not None:
        measured = f"row {found[0]} again in row {found[1]}"
        yield Mismatch(name=name, quantity="rows", expected="each its own", measured=measured)


def _rows_tell(count: int, length: int, eps: float) -> bool:
    """Whether equal rows are no chance: pairs times the probability that two numbers round to the same, ** length."""
    return math.log(max(count, 2)) * 2 + length * math.log(8 * eps) < math.log(_CHANCE)


# ---------------------------------------------------------------------- orthogonality
def _orthogonality(name: str, values: Array, law: Initializer, layout: Layout | None, dtype: str) -> Iterator[Mismatch]:
    if not isinstance(law, Orthogonal) or values.ndim < 2:
        return
    worst = orthogonality_error(values, layout)
    if worst > _ORTHOGONAL_TOLERANCE.get(dtype, 1e-4) * math.sqrt(max(values.shape)):
        yield Mismatch(name=name, quantity="orthogonality", expected=0.0, measured=worst)


def orthogonality_error(values: Array, layout: Layout | None) -> float:
    """Largest entry of abs(Q Q' / g^2 - I) over the maps in a weight, on their smaller sides; g^2: mean diagonal.

    Example:
        >>> orthogonality_error(np.eye(3) * 2.0, None)
        0.0
    """
    worst = 0.0
    wide = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
    for block in to_blocks(wide, Layout.default(values.ndim) if layout is None else layout):
        flat = block.reshape(block.shape[0], block.shape[1], -1)
        for matrix in flat:
            q = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            gram = q @ q.conj().T
            scale = float(np.trace(gram).real) / len(gram)
            if scale > 0:
                worst = max(worst, float(np.abs(gram / scale - np.eye(len(gram))).max()))
    return worst
