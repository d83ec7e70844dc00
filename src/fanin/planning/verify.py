"""Are a model's tensors what the plan says? Exact bits where possible, else moments within z standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fanin.errors import FillError, PlanError
from fanin.measure.sampling import rms, strided
from fanin.model.foreign import as_module
from fanin.model.parameters import Rename, Slot, renamed, slots_in_parts
from fanin.model.parametrized import Parametrized
from fanin.planning.apply import drawn, scale_
from fanin.planning.assignment import Assignment
from fanin.planning.names import under_names_of
from fanin.planning.slices import drawn_blocks
from fanin.recipes.reading.departures import Mismatch, departures
from fanin.recipes.reading.numbers import exact_numbers
from fanin.tensors.shards import is_sharded, local_part, whole_here
from fanin.tensors.values import finite, readable
from fanin.text.given import assert_positive
from fanin.text.html import html_table
from fanin.text.names import clean
from fanin.text.numbers import counted

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Mismatch", "Verification", "is_as_drawn", "unscaled", "verify"]

_BITS_LIMIT = 1 << 26  # elements; a larger tensor is drawn again only where the bits are asked for
_SURE, _FAR = 4096, 0.2  # elements from which a std that is so far off (relative) cannot be chance
_READ_WHOLE = 1 << 20  # elements that are read in order in less time than a sample of them
_NORMAL = 1e-12  # sizes from it to one over it have squares in float32
_CLOSE = 0.01  # of a computed tensor's norm: spectral norm's vectors move with every forward pass in training


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `Plan.verify` found.

    Attributes:
        bits: parameters that are the plan's values bit for bit.
        law: parameters whose moments agree with the planned law within z standard errors.
        not_checked: parameters that the plan keeps without a law: all their numbers are finite, and that is all that
            can be said.
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
            lines = "\n  ".join(clean(m) for m in self.mismatches[:20])
            raise PlanError(f"{counted(len(self.mismatches), 'departure')} from the plan:\n  {lines}")

    def __repr__(self) -> str:
        return f"<Verification: {str(self).splitlines()[0]}>"

    def _repr_html_(self) -> str:
        rows = [(m.name, m.quantity, *map(_figures, (m.expected, m.measured))) for m in self.mismatches]
        return html_table(repr(self)[1:-1], ("parameter", "quantity", "planned", "measured"), rows)

    def __str__(self) -> str:
        head = (
            f"{counted(len(self.bits), 'parameter')} bit for bit, {len(self.law)} by law (z = {self.z:g}), "
            f"{len(self.not_checked)} not checked, {counted(len(self.mismatches), 'departure')}"
        )
        law = [
            "  by law: moments, bounds and rows agree, as in any draw. Not seen so:",
            "  rows in another order, a transposed matrix, another seed, single numbers.",
            "  verify(model, bits=True) sees those, in every tensor that the plan draws.",
        ]
        return "\n".join([head, *(law if self.law else ()), *(f"  {clean(m)}" for m in self.mismatches)])


def _figures(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def verify(
    plan: PlanData,
    model: torch.nn.Module,
    *,
    z: float = 5.0,
    bits: bool = False,
    partial: bool = False,
    rename: Rename | None = None,
) -> Verification:
    """Hold a model's tensors against a plan; see `Plan.verify`."""
    assert_positive("z", z)
    module = as_module(model).module
    plan, slots = under_names_of(plan, module), renamed(slots_in_parts(module), rename)
    by_name = {n: slot for slot in slots.values() for n in slot.names}
    outcome: dict[str, list[str]] = {"bits": [], "law": [], "not_checked": []}
    mismatches: list[Mismatch] = []
    for name in (n for n in slots if n not in plan):
        mismatches.append(Mismatch(name=name, quantity="missing", expected="not in the plan", measured="in the model"))
    for a in plan.assignments.values():
        if partial and not any(name in by_name for name in a.names):
            continue
        how, found = "law", list(_ties(plan, a, by_name, partial))
        for name in _to_look_at(a, by_name):
            how, differs = _held(_Case(plan, a, by_name[name], name, z, bits))
            found += differs
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


def is_as_drawn(plan: PlanData, a: Assignment, slot: Slot) -> bool:
    """Whether a parameter holds the very values that a plan draws for it."""
    if a.action != "draw" or a.shape != slot.shape or not readable(slot.tensor):
        return False
    now = slot.effective().detach()
    if not _has_std(now, a.std) or not finite(now):  # the cheaper question first
        return False
    case = _Case(plan, a, slot, a.name, 5.0, True)
    if slot.behind is not None:
        return not _through(case, slot.behind)
    return next(_unequal_blocks(case, now), None) is None


def _has_std(tensor: torch.Tensor, std: float | None) -> bool:
    """Whether a tensor may follow a law of this std, seen at a fraction of the cost of drawing it."""
    if std is None or tensor.numel() < _SURE or is_sharded(tensor):
        return True
    size = rms(tensor) if tensor.dtype.itemsize <= 4 and tensor.numel() <= _READ_WHOLE else 0.0
    if not _NORMAL < size < 1.0 / _NORMAL:  # squares that float32 does not hold, or too many
        sample = strided(tensor).double()
        size = float(sample.norm()) / math.sqrt(sample.numel())
    return abs(size - std) <= _FAR * std


# ---------------------------------------------------------------------- ties
def _ties(plan: PlanData, a: Assignment, by_name: dict[str, Slot], partial: bool) -> Iterator[Mismatch]:
    """Where the names of one tensor are not the names that the plan gives it."""
    slot = by_name.get(a.name)
    for name in a.names:
        if name not in by_name and partial:
            continue
        if name not in by_name:
            yield Mismatch(name=name, quantity="missing", expected="in the model", measured="not there")
        elif slot is not None and by_name[name] is not slot:
            yield Mismatch(name=name, quantity="tie", expected=f"tied to {a.name}", measured="a tensor of its own")
    for name in slot.names if slot is not None and slot.name == a.name else ():
        if name not in a.names:
            planned = "a tensor of its own" if name in plan else "not in the plan"
            yield Mismatch(name=name, quantity="tie", expected=planned, measured=f"tied to {a.name}")


def _to_look_at(a: Assignment, by_name: dict[str, Slot]) -> list[str]:
    """One name of each tensor that an assignment's names lead to: more than one where a tie is lost."""
    found: dict[int, str] = {}
    for name in a.names:
        if name in by_name:
            found.setdefault(id(by_name[name]), name)
    return list(found.values())


# ---------------------------------------------------------------------- one tensor
@dataclass(frozen=True, slots=True)
class _Case:
    """One tensor of the model and what the plan says of it."""

    plan: PlanData
    a: Assignment
    slot: Slot
    name: str
    z: float
    bits: bool

    def differs(self, quantity: str, expected: str, measured: str) -> list[Mismatch]:
        return [Mismatch(name=self.name, quantity=quantity, expected=expected, measured=measured)]


def _held(case: _Case) -> tuple[str, list[Mismatch]]:
    """How a tensor was checked ("bits", "law", "not_checked"), and where it departs."""
    a, slot = case.a, case.slot
    if a.shape != slot.shape:
        return "law", case.differs("shape", str(a.shape), str(slot.shape))
    if slot.tensor.device.type == "meta":
        return "law", case.differs("values", "numbers", "on the meta device")
    if not finite(slot.tensor):
        return "law", case.differs("values", "finite", "NaN or infinite")
    if a.initializer is None:
        return "not_checked", []
    if not readable(slot.tensor):
        return "law", case.differs("values", str(a.initializer), f"kept by a {type(slot.tensor).__name__}, not read")
    if slot.behind is not None and a.action == "draw":
        return "bits", _through(case, slot.behind)
    tensor = slot.effective().detach()
    whole = whole_here(tensor) if slot.part is None else None
    if whole is None:
        return _held_in_part(case, tensor)
    tensor = whole
    if a.action == "draw" and (case.bits or tensor.numel() <= _BITS_LIMIT):
        other = _other_bits(case, tensor)
        if not other:
            return "bits", []
        if case.bits:
            return "bits", case.differs("bits", "as drawn", other)
    values = exact_numbers(unscaled(tensor, a))
    law, rows = a.initializer, a.zero_rows
    return "law", list(departures(case.name, values, law, a.layout, slot.dtype, case.z, zero_rows=rows))


def unscaled(tensor: torch.Tensor, a: Assignment) -> torch.Tensor:
    """The numbers before the factors of a plan, as its law says them; the tensor itself where there are none."""
    if not a.is_scaled:
        return tensor
    import torch

    own = tensor.to(torch.promote_types(tensor.dtype, torch.float32), copy=True)
    inverse = [replace(p, factor=1.0 / p.factor) for p in a.part_factors if p.factor > 0.0]
    scale_(own, replace(a, factor=1.0 / a.factor if a.factor > 0.0 else 1.0, part_factors=tuple(inverse)))
    return own


def _held_in_part(case: _Case, tensor: torch.Tensor) -> tuple[str, list[Mismatch]]:
    """A tensor that is spread over processes: the part that is here is compared with its part of the stream."""
    if case.a.action != "draw":
        return "not_checked", []
    other = _other_bits(case, tensor)
    return "bits", case.differs("bits", "as drawn", f"{other} of the part in this process") if other else []


def _other_bits(case: _Case, tensor: torch.Tensor) -> str:
    """How a tensor's bits are not those of its stream; "" where they are."""
    blocks = list(_unequal_blocks(case, tensor))
    if not blocks:
        return ""
    count, total = sum(n for _, n in blocks), local_part(tensor).numel()
    return f"{count} of {total} numbers differ, first at {blocks[0][0]}"


def _unequal_blocks(case: _Case, tensor: torch.Tensor) -> Iterator[tuple[tuple[int, ...], int]]:
    """(index of the first number that is not as drawn, how many are not) of each block of what is here."""
    for first, here, want in drawn_blocks(case.plan, case.a, tensor, case.slot.part):
        wrong = want != here
        if case.bits:
            wrong = wrong | _other_signs(want, here)
        if count := int(wrong.sum()):
            row, *rest = wrong.nonzero()[0].tolist() or [None]
            yield (() if row is None else (first + row, *rest)), count


def _other_signs(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Where one number is 0 and the other -0, which compare as equal."""
    import torch

    if one.is_complex():
        return (torch.view_as_real(one).signbit() != torch.view_as_real(two.resolve_conj()).signbit()).any(-1)
    return one.signbit() != two.signbit()


def _through(case: _Case, behind: Parametrized) -> list[Mismatch]:
    """A parametrized tensor: its parts, and what is computed from them, must be what the drawn values make them."""
    import torch

    now = behind.value()
    try:
        behind.check()
    except FillError as error:
        return case.differs("values", "as drawn", str(error))
    parts, want = behind.with_value(drawn(case.plan, case.a, now, tuple(now.shape)))
    wrong = [name for name, part in parts.items() if not torch.equal(behind.part(name), part)]
    if wrong:
        return case.differs("values", "as drawn", f"{', '.join(wrong)} differ")
    if float((now - want).norm()) > _CLOSE * float(want.norm()) or not finite(now):
        return case.differs("values", "as drawn", f"{behind.name} is computed to be something else")
    return []
