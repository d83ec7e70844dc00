"""Are a model's tensors what the plan says? Exact bits where possible, else moments within z standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fanin.errors import PlanError
from fanin.layout import Layout, to_blocks
from fanin.memory import as_array
from fanin.model.parameters import Slot, slots_of
from fanin.planning.assignment import Assignment

if TYPE_CHECKING:
    import torch

    from fanin.initializers import Initializer
    from fanin.planning.data import PlanData

__all__ = ["Mismatch", "Verification", "verify"]

Array = npt.NDArray[Any]
_BITS_LIMIT = 1 << 26  # elements; a larger tensor is drawn again only if it fails the moments
_ORTHOGONAL_TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "bfloat16": 2e-2, "float16": 4e-3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One way in which a tensor is not what the plan says.

    Attributes:
        name: qualified parameter name.
        quantity: "shape", "mean", "variance", "bound", "orthogonality", "values", "missing".
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `Plan.verify` found.

    Attributes:
        bits: parameters that are the plan's values bit for bit.
        law: parameters whose moments agree with the planned law within z standard errors.
        not_checked: parameters that the plan keeps without a law, so there is nothing to hold them against.
        mismatches: everything that is not as planned.
        z: the tolerance used.
    """

    bits: tuple[str, ...]
    law: tuple[str, ...]
    not_checked: tuple[str, ...]
    mismatches: tuple[Mismatch, ...]
    z: float

    @property
    def ok(self) -> bool:
        """Whether nothing departs from the plan."""
        return not self.mismatches

    def raise_for_mismatches(self) -> None:
        """Raise `PlanError` with every mismatch, if there is one."""
        if self.mismatches:
            lines = "\n  ".join(map(str, self.mismatches[:20]))
            raise PlanError(f"{len(self.mismatches)} departures from the plan:\n  {lines}")

    def __str__(self) -> str:
        head = (
            f"{len(self.bits)} parameters bit for bit, {len(self.law)} by law (z = {self.z:g}), "
            f"{len(self.not_checked)} not checked, "
            f"{len(self.mismatches)} departures"
        )
        return "\n".join([head, *(f"  {m}" for m in self.mismatches)])


def verify(plan: PlanData, model: torch.nn.Module, *, z: float = 5.0) -> Verification:
    """Hold a model's tensors against a plan; see `Plan.verify`."""
    slots = slots_of(model)
    outcome: dict[str, list[str]] = {"bits": [], "law": [], "not_checked": []}
    mismatches: list[Mismatch] = []
    for name in (n for n in slots if n not in plan):
        mismatches.append(Mismatch(name=name, quantity="missing", expected="not in the plan", measured="in the model"))
    for a in plan.assignments.values():
        slot = slots.get(a.name)
        if slot is None:
            mismatches.append(Mismatch(name=a.name, quantity="missing", expected="in the model", measured="not there"))
            continue
        how, found = _held(plan, model, a, slot, z)
        mismatches += found
        if not found:
            outcome[how].append(a.name)
    return Verification(
        bits=tuple(outcome["bits"]),
        law=tuple(outcome["law"]),
        not_checked=tuple(outcome["not_checked"]),
        mismatches=tuple(mismatches),
        z=z,
    )


def _held(plan: PlanData, model: torch.nn.Module, a: Assignment, slot: Slot, z: float) -> tuple[str, list[Mismatch]]:
    import torch

    tensor = slot.tensor.detach()
    if a.initializer is None:
        return "not_checked", []
    if slot.through:
        if a.action == "draw":
            return _held_through(plan, model, a, slot)
        path, _, attribute = slot.through.rpartition(".")
        tensor = getattr(model.get_submodule(path), attribute).detach()
    elif a.shape != slot.shape:
        return "law", [Mismatch(name=a.name, quantity="shape", expected=str(a.shape), measured=str(slot.shape))]
    if tensor.device.type == "meta":
        return "law", [Mismatch(name=a.name, quantity="values", expected="numbers", measured="on the meta device")]
    if a.action == "draw" and tensor.numel() <= _BITS_LIMIT:
        from fanin.planning.apply import drawn

        if torch.equal(drawn(plan, a, tensor), tensor):
            return "bits", []
    values = as_array(tensor.to("cpu", torch.complex128 if tensor.is_complex() else torch.float64))
    found = list(departures(a.name, values, a.initializer, a.layout, slot.dtype, z))
    if a.action == "keep":  # the bound of a law read off a sample is an estimate
        found = [m for m in found if m.quantity != "bound"]
    return "law", found


def _held_through(plan: PlanData, model: torch.nn.Module, a: Assignment, slot: Slot) -> tuple[str, list[Mismatch]]:
    """A parametrized tensor: its parts must be what the drawn values make them, which only the bits can tell."""
    import torch

    from fanin.planning.apply import drawn, parts_for

    path, _, attribute = slot.through.rpartition(".")
    module = model.get_submodule(path)
    with torch.no_grad():
        effective = getattr(module, attribute)
        want = parts_for(module, attribute, drawn(plan, a, effective, tuple(effective.shape)))
    wrong = [n for n, part in want.items() if not torch.equal(module.get_parameter(n), part)]
    if not wrong:
        return "bits", []
    return "bits", [
        Mismatch(name=a.name, quantity="values", expected="as drawn", measured=f"{', '.join(wrong)} differ")
    ]


def departures(
    name: str, values: Array, law: Initializer, layout: Layout | None, dtype: str, z: float
) -> Iterator[Mismatch]:
    """How values depart from a law: mean and variance in standard errors, the bound, orthogonality of its blocks.

    The standard error of the mean is std / sqrt(n), of the variance var sqrt((kurtosis - 1) / n); n is the number of
    elements. Laws whose entries are not independent have smaller ones, so the test is not sharper than stated for
    them, only safer.

    Args:
        name: for the messages.
        values: float64 or complex128, the whole tensor.
        law: the planned law.
        layout: what the axes mean.
        dtype: of the tensor the values came from; it sets the rounding that is allowed.
        z: tolerance in standard errors.
    """
    want = law.moments(values.shape, layout)
    n, eps = values.size, _EPS.get(dtype, 2.0**-23)
    if n == 0:
        return
    if not np.isfinite(values).all():
        yield Mismatch(name=name, quantity="values", expected="finite", measured="NaN or infinite")
        return
    if want.var == 0.0:
        off = float(np.abs(values - want.mean).max())
        if off > eps * max(abs(want.mean), 1e-30):
            yield Mismatch(name=name, quantity="values", expected=want.mean, measured=want.mean + off)
        return
    mean, var = values.mean(), float((np.abs(values - want.mean) ** 2).mean())
    z_mean = float(np.real(mean) - want.mean) / (want.std / math.sqrt(n) + eps * want.std)
    if abs(z_mean) > z:
        yield Mismatch(name=name, quantity="mean", expected=want.mean, measured=float(np.real(mean)), z=z_mean)
    kurtosis = want.kurtosis if math.isfinite(want.kurtosis) else 3.0
    z_var = (var - want.var) / (want.var * (math.sqrt(max(kurtosis - 1.0, 0.0) / n) + 2 * eps))
    if abs(z_var) > z:
        yield Mismatch(name=name, quantity="variance", expected=want.var, measured=var, z=z_var)
    top = float(np.abs(values).max())
    if want.bound is not None and top > want.bound * (1 + 2 * eps):
        yield Mismatch(name=name, quantity="bound", expected=want.bound, measured=top)
    yield from _orthogonality(name, values, law, layout, dtype)


_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-8, "float16": 2.0**-10}


def _orthogonality(name: str, values: Array, law: Initializer, layout: Layout | None, dtype: str) -> Iterator[Mismatch]:
    from fanin.initializers import Orthogonal

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
    for block in to_blocks(values, Layout.default(values.ndim) if layout is None else layout):
        flat = block.reshape(block.shape[0], block.shape[1], -1)
        for matrix in flat:
            q = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
            gram = q @ q.T
            scale = float(np.trace(gram)) / len(gram)
            if scale > 0:
                worst = max(worst, float(np.abs(gram / scale - np.eye(len(gram))).max()))
    return worst
