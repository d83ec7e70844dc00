"""What one name means in each framework, as data and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fanin.errors import ShapeError
from fanin.initializers.base import Initializer
from fanin.initializers.dialects.entry import Entry
from fanin.layout import Layout

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["Difference", "Differences", "rows_of"]

FAN_IN, FAN_OUT = 400, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One framework's meaning of a name, with numbers for a dense map of 400 inputs and 100 outputs.

    Attributes:
        framework: "fanin", "torch", "keras", ...
        spelling: how it is spelt there.
        law: what is really sampled there.
        mean: mean of the realised law; nan, as std, for laws of kernels and biases.
        std: std of the realised law.
        std_ratio: its std over that of fanin's law; nan where that is 0 or there is none.
        bound: largest absolute value, or None.
        note: what else differs.
    """

    framework: str
    spelling: str
    law: Initializer
    mean: float
    std: float
    std_ratio: float
    bound: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Differences:
    """What a name means in each framework; prints as a table."""

    name: str
    rows: tuple[Difference, ...]

    def __iter__(self) -> Iterator[Difference]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        fields = ("framework", "spelling", "mean", "std", "std_ratio", "bound", "note")
        rows = [{**{f: getattr(row, f) for f in fields}, "law": row.law.to_dict()} for row in self.rows]
        return {"name": self.name, "fan_in": FAN_IN, "fan_out": FAN_OUT, "rows": rows}

    def __rich__(self) -> Group:
        from rich.console import Group

        from fanin.text.columns import Column, ColumnTable

        others = (
            Column(title="there called", least=12, rank=1),
            Column(title="law", least=16),
            *(
                Column(title=title, side="right", rank=rank)
                for title, rank in (("std", 0), ("x fanin's", 0), ("bound", 2))
            ),
            Column(title="mean", side="right", rank=3),
            Column(title="note", least=18),
        )
        return Group(f"{self._title}\n", ColumnTable("framework", others, tuple(map(_cells, self.rows)), prose=True))

    @property
    def _title(self) -> str:
        return f"{self.name}: what each framework samples (fan_in {FAN_IN}, fan_out {FAN_OUT})"

    def __str__(self) -> str:
        from fanin.text.console import plain_text, prose_width

        return plain_text(self, width=prose_width()).rstrip()


def _cells(row: Difference) -> tuple[str, ...]:
    bound = "" if math.isnan(row.std) else "none" if row.bound is None else f"{row.bound:.4g}"
    numbers = ("" if math.isnan(x) else f"{x:.4g}" for x in (row.std, row.std_ratio))
    mean = "" if math.isnan(row.mean) else f"{row.mean:.3g}"
    return (row.framework, row.spelling, str(row.law), *numbers, bound, mean, row.note)


def _numbers(law: Initializer, order: str) -> tuple[float, float, float | None]:
    shape, layout = ((FAN_IN, FAN_OUT), Layout.linear_in_out()) if order == "in_out" else ((FAN_OUT, FAN_IN), None)
    try:
        moments = law.moments(shape, layout)
    except ShapeError:  # a law for kernels or biases, which has no numbers for a dense map
        return math.nan, math.nan, None
    return moments.mean, moments.std, moments.bound


def rows_of(own: Initializer | None, entries: list[tuple[str, Entry]], name: str) -> tuple[Difference, ...]:
    """The rows of the table: fanin's own law first, then each framework's."""
    found: list[tuple[str, str, Initializer, str, str]] = []
    if own is not None:
        found.append(("fanin", name, own, "out_in", ""))
    found += [(framework, e.spelling, e.make(**e.example), e.order, e.note) for framework, e in entries]
    reference = _numbers(own, "out_in")[1] if own is not None else 0.0
    rows = []
    for framework, spelling, law, order, note in found:
        mean, std, bound = _numbers(law, order)
        rows.append(
            Difference(
                framework=framework,
                spelling=spelling,
                law=law,
                mean=mean,
                std=std,
                std_ratio=std / reference if reference > 0.0 else math.nan,
                bound=bound,
                note=note,
            )
        )
    return tuple(rows)
