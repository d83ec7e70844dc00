"""What two plans do differently, or where a live model departs from a plan, as data with a view."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.planning.assignment import Assignment
from fanin.planning.verify import verify

if TYPE_CHECKING:
    import torch

    from fanin.planning.data import PlanData

__all__ = ["Difference", "PlanDiff", "diff_plans", "diff_with_model"]

_COMPARED = ("shape", "dtype", "role", "action", "initializer", "std", "layout", "key", "aliases", "through")
_CLOSE = 1e-12  # relative; two stds that differ by less are the same number written twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One parameter, one field, two values.

    Attributes:
        name: qualified parameter name.
        field: which field of the assignment ("" where one side lacks the parameter).
        left: value on the first side, None where it lacks the parameter.
        right: value on the other side.
    """

    name: str
    field: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDiff:
    """Everything that differs between two plans, or a plan and a model.

    Attributes:
        left: what the first side is called.
        right: what the other side is called.
        differences: in the order of the model.
        compared: number of parameters looked at.
    """

    left: str
    right: str
    differences: tuple[Difference, ...]
    compared: int

    def __bool__(self) -> bool:
        return bool(self.differences)

    def __str__(self) -> str:
        from fanin.planning.explain import diff_text

        return diff_text(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        rows = [
            {"name": d.name, "field": d.field, "left": _plain(d.left), "right": _plain(d.right)}
            for d in self.differences
        ]
        return {"left": self.left, "right": self.right, "compared": self.compared, "differences": rows}


def diff_plans(left: PlanData, right: PlanData) -> PlanDiff:
    """What two plans say differently about each parameter, and the settings of the plans themselves."""
    names = list(dict.fromkeys((*left.assignments, *right.assignments)))
    found: list[Difference] = []
    if left.seed != right.seed:
        found.append(Difference(name="", field="seed", left=left.seed, right=right.seed))
    for name in names:
        one, two = left.assignments.get(name), right.assignments.get(name)
        if one is None or two is None:
            found.append(Difference(name=name, field="", left=_brief(one), right=_brief(two)))
        else:
            found += _fields(one, two)
    return PlanDiff(
        left=f"{left.recipe} of {left.model}",
        right=f"{right.recipe} of {right.model}",
        differences=tuple(found),
        compared=len(names),
    )


def diff_with_model(plan: PlanData, model: torch.nn.Module) -> PlanDiff:
    """Where a live model departs from a plan, beyond five standard errors."""
    verification = verify(plan, model)
    rows = tuple(
        Difference(name=m.name, field=m.quantity, left=m.expected, right=m.measured) for m in verification.mismatches
    )
    return PlanDiff(
        left=f"{plan.recipe} of {plan.model}",
        right=f"live {type(model).__name__}",
        differences=rows,
        compared=len(plan),
    )


def _fields(one: Assignment, two: Assignment) -> Iterator[Difference]:
    for name in _COMPARED:
        left, right = getattr(one, name), getattr(two, name)
        if left == right or (isinstance(left, float) and isinstance(right, float) and _same(left, right)):
            continue
        if name == "std" and one.initializer == two.initializer:
            continue
        yield Difference(name=one.name, field=name, left=left, right=right)


def _same(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=_CLOSE)


def _brief(a: Assignment | None) -> str | None:
    return None if a is None else f"{a.role}, {a.initializer if a.initializer is not None else a.action}"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
