"""What is known of each weight before the pass: where it is used, in which parts, and whether it may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from fanin.graph.roles.data import ParameterRole, Part, Roles
from fanin.model.operations import LOOKUPS, unordered
from fanin.model.parameters import Slot
from fanin.planning.apply import overlapping
from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.planning.overrides import require_used
from fanin.tensors.writable import why_not_writable
from fanin.text.paths import matches

__all__ = ["MAPS", "Fixed", "Subject", "asked_names", "subjects"]

MAPS = frozenset({"weight", "embedding", "rnn_ih", "rnn_hh"})
FixedStatus = Literal["not asked", "frozen", "kept", "tied table", "parametrized", "not followed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Why a weight stays as it is whatever its outputs measure."""

    status: FixedStatus
    reason: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One weight.

    Attributes:
        slot: the parameter.
        assignment: what the plan says of it.
        role: what the captured forward pass says of it; None where it has no role there.
        asked: whether the caller wants it corrected.
        protected: why it stays: frozen, or loaded from a checkpoint; "" where it may change.
        shares: another parameter in the same memory; "" where there is none.
    """

    slot: Slot
    assignment: Assignment
    role: ParameterRole | None
    asked: bool
    protected: str
    shares: str = ""

    @property
    def name(self) -> str:
        """Its first qualified name."""
        return self.slot.name

    @cached_property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Module and operation of each use in the captured pass, in the order of the plan's predictions."""
        return () if self.role is None else tuple((u.module, u.op_name) for u in self.role.uses)

    @property
    def is_reused(self) -> bool:
        """Whether one factor acts on several outputs."""
        return len(self.places) > 1

    @property
    def mean_depth(self) -> float:
        """How often its factor has acted on the signal at the mean use, where its uses feed each other."""
        return 1.0 if self.role is None else (max(self.role.iterated, 1) + 1) / 2

    @property
    def parts(self) -> tuple[Part, ...]:
        """Maps side by side along its output axis."""
        return () if self.role is None else self.role.parts

    def place(self, module: str, op: str, seen: int) -> int | None:
        """Which use of the captured pass an operation is, None where it is none.

        Args:
            module: path of the module that runs it.
            op: name of the operation.
            seen: how many such operations of this module read the weight before.
        """
        same = [i for i, (m, o) in enumerate(self.places) if (m, unordered(o)) == (module, op)]
        if seen < len(same):
            return sorted(same, key=lambda i: self.role.uses[i].op if self.role else i)[seen]
        return 0 if len(self.places) == 1 and not same and seen == 0 else None

    def is_normed(self, place: int | None) -> bool:
        """Whether only norms read the output of a use."""
        return place is not None and self.role is not None and self.role.uses[place].normed

    @cached_property
    def fixed(self) -> Fixed | None:
        """Why it stays as it is; None where it may change."""
        if self.protected:
            status: FixedStatus = "kept" if self.slot.tensor.requires_grad else "frozen"
            return Fixed(status=status, reason=self.protected)
        if self._is_tied_table:
            return Fixed(status="tied table", reason="its rows are looked up and it is a map too: one factor, two jobs")
        if why := self._why_not_written():
            return Fixed(status="parametrized" if self.slot.behind is not None else "not followed", reason=why)
        return None if self.asked else Fixed(status="not asked", reason="measured only, as asked")

    @property
    def _is_tied_table(self) -> bool:
        lookups = [op in LOOKUPS for _, op in self.places]
        return any(lookups) and not all(lookups)

    def _why_not_written(self) -> str:
        behind = self.slot.behind
        if self.shares:
            return f"it shares memory with {self.shares}, which a factor on it would change too"
        if behind is None:
            why = why_not_writable(self.slot.tensor)
            return f"it {why}" if why else ""
        if behind.scaling_part() is None and not behind.takes_factor():
            return (
                f"what computes {behind.name} sets its size, so a factor on its parts changes nothing, or not the size"
            )
        return ""


def subjects(
    slots: Mapping[str, Slot],
    plan: PlanData,
    found: Roles,
    *,
    asked: frozenset[str] | None,
    protected: Mapping[str, str],
) -> dict[str, Subject]:
    """All parameters that a plan has, by first qualified name; parts that only belong to a parametrization left out.

    Args:
        slots: the parameters of the model.
        plan: the plan.
        found: the roles of the captured pass.
        asked: the parameters that the caller wants corrected; None for all.
        protected: parameters that must not change -> why.
    """
    shared = dict(pair for a, b in overlapping(slots.values()) for pair in ((a, b), (b, a)))
    return {
        name: Subject(
            slot=slot,
            assignment=plan[name],
            role=found.parameters.get(name),
            asked=asked is None or name in asked,
            protected=protected.get(name, ""),
            shares=shared.get(name, ""),
        )
        for name, slot in slots.items()
        if slot.holds_values and name in plan
    }


def asked_names(slots: Mapping[str, Slot], patterns: Iterable[str]) -> frozenset[str]:
    """The parameters that one of the patterns matches, under any of their names.

    Raises:
        PlanError: a pattern that matches nothing.
    """
    wanted = list(patterns)
    names = {n: [*s.names, *([s.through] if s.through else [])] for n, s in slots.items() if s.holds_values}
    used = {p for p in wanted for known in names.values() if any(matches(n, p) for n in known)}
    require_used(wanted, used, [n for known in names.values() for n in known])
    return frozenset(n for n, known in names.items() if any(matches(k, p) for k in known for p in wanted))
