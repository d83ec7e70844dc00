"""Differences between two plans, or between a plan and a live model, as data that rich can print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from fanin.model.wrappers import unwrapped
from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.planning.verify import verify
from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.console import WIDTH, plain_text, prose_width
from fanin.text.html import html_table
from fanin.text.names import one_line
from fanin.text.numbers import big, counted
from fanin.text.paths import group_paths

if TYPE_CHECKING:
    import torch

__all__ = ["Difference", "PlanDiff", "diff_plans", "diff_with_model"]

_COMPARED = (
    "shape",
    "dtype",
    "role",
    "action",
    "initializer",
    "factor",
    "part_factors",
    "std",
    "layout",
    "key",
    "aliases",
    "through",
    "zero_rows",
)
_COLUMNS = (Column(title="field"), Column(title="left", least=16), Column(title="right", least=16))
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

    def __repr__(self) -> str:
        return f"<PlanDiff of {one_line(self.left)} and {one_line(self.right)}: {_counted(self)}>"

    def _repr_html_(self) -> str:
        heads = ("parameter", *(column.title for column in _COLUMNS))
        return html_table(repr(self)[1:-1], heads, _cells(self.differences))

    def __str__(self) -> str:
        return plain_text(self, width=prose_width()).rstrip("\n")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Both sides, parameters that differ in the same way on one line, how many differ."""
        width = min(options.max_width, WIDTH)
        write: Callable[[str], str] = to_ascii if options.ascii_only else str
        left, right = write(one_line(self.left)), write(one_line(self.right))
        if self.differences:
            parts = Group(
                Text(write(f"{left} → {right}"), style="bold"),
                Text(),
                columns("parameter", _COLUMNS, _cells(self.differences), width=width, write=write),
                Text(),
                Text(_counted(self)),
            )
        else:
            parts = Group(Text(f"no difference in {counted(self.compared, 'parameter')} between {left} and {right}"))
        yield from console.render(parts, options.update(width=width, highlight=False))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        rows = [
            {"name": d.name, "field": d.field, "left": _plain(d.left), "right": _plain(d.right)}
            for d in self.differences
        ]
        return {"left": self.left, "right": self.right, "compared": self.compared, "differences": rows}


def _counted(found: PlanDiff) -> str:
    changed = len({d.name for d in found.differences if d.name})
    return f"{changed} of {counted(found.compared, 'parameter')} differ"


def _cells(differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    same: dict[tuple[str, str, str], list[str]] = {}
    for d in differences:
        same.setdefault((d.field or "present", _shown(d.left), _shown(d.right)), []).append(d.name)
    return [(group.pattern or "(plan)", *values) for values, names in same.items() for group in group_paths(names)]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return big(value, 4) if isinstance(value, float) else str(value)


def diff_plans(left: PlanData, right: PlanData) -> PlanDiff:
    """Differences between two plans: of each parameter, and of the settings of the plans."""
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
    """Differences between a plan and a live model, beyond five standard errors."""
    verification = verify(plan, model)
    rows = tuple(
        Difference(name=m.name, field=m.quantity, left=m.expected, right=m.measured) for m in verification.mismatches
    )
    return PlanDiff(
        left=f"{plan.recipe} of {plan.model}",
        right=f"live {type(unwrapped(model)).__name__}",
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
