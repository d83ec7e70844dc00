"""What the model holds of a plan: the values that it draws, or values of the model's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fanin.calibration.write import own_values, with_law
from fanin.model.parameters import Slot
from fanin.planning.assignment import Assignment
from fanin.planning.plan import Plan
from fanin.planning.verify import is_as_drawn, unscaled

__all__ = ["Held"]


class Held:
    """Says of each parameter whether it holds what a plan draws; a tensor is drawn again once, when it is asked for.

    Args:
        plan: the plan.
        slots: the parameters.
    """

    def __init__(self, plan: Plan, slots: Mapping[str, Slot]) -> None:
        self._plan, self._slots = plan, slots
        self._answers: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        """Whether the parameter holds the plan's very values; asked again, the first answer."""
        if name not in self._answers:
            a = self._plan[name]
            self._answers[name] = a.name in self._slots and is_as_drawn(self._plan, a, self._slots[a.name])
        return self._answers[name]

    def plan_of(self, names: Iterable[str]) -> Plan:
        """The plan, in which those of the named parameters are kept that hold values of their own."""
        own = {n: own_values(self._plan[n]) for n in names if self._plan[n].action == "draw" and not self(n)}
        return replace(self._plan, assignments={n: own.get(n, a) for n, a in self._plan.assignments.items()})

    def reader(self, plan: Plan, changed: Iterable[str], *, written: bool) -> Callable[[], Plan]:
        """What makes the plan of all that the model holds now, when it is asked for: it reads every tensor.

        Args:
            plan: the plan with the factors.
            changed: the parameters that have one.
            written: whether the model has been multiplied.
        """
        versions, names = {n: _version(s) for n, s in self._slots.items()}, frozenset(changed)

        def read() -> Plan:
            made = {
                name: self._read(plan.assignments[name], versions, is_scaled=written and name in names)
                for name in plan.assignments
                if name in self._slots and (name in names or self._plan[name].action == "draw")
            }
            drawn = any(a.action == "draw" for a in made.values())
            return replace(
                plan,
                recipe=plan.recipe if drawn or plan.recipe == "keep" else "keep",
                assignments={n: made.get(n, a) for n, a in plan.assignments.items()},
            )

        return read

    def _read(self, a: Assignment, versions: Mapping[str, int], *, is_scaled: bool) -> Assignment:
        slot = self._slots[a.name]
        as_found = _version(slot) == versions[a.name]
        if a.action == "draw":
            if is_scaled or (as_found and self(a.name)):
                return a
            a = own_values(a)
        if not as_found or slot.tensor.device.type == "meta":
            return replace(a, reason=f"{a.reason}, which have changed since")
        values = slot.effective().detach()
        return with_law(a, unscaled(values, a) if is_scaled else values)


def _version(slot: Slot) -> int:
    """How often a tensor was written to, as torch counts it."""
    return 0 if slot.tensor.is_inference() else slot.tensor._version
