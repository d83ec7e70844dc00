"""`CoordinateCheck`: slopes of all maps over widths, with table, figure and page as methods."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.scaling.slopes import Slope
from fanin.scaling.spectral import SpectralFact
from fanin.text.files import write_figure, write_text
from fanin.text.jsonable import jsonable
from fanin.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.text.columns import ColumnTable

__all__ = ["CoordinateCheck", "MapRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRow:
    """One use of one map.

    Attributes:
        name: the parameter that it applies, or "output" for what the model returns.
        slopes: after each step.
        changes: width -> rms change of its output after each step, the mean over the seeds.
    """

    name: str
    slopes: tuple[Slope, ...]
    changes: Mapping[int, tuple[float, ...]]

    @property
    def last(self) -> Slope:
        """The slope after the last step, which gives the verdict."""
        return self.slopes[-1]


@dataclass(frozen=True, kw_only=True)
class CoordinateCheck:
    """How far the output of every map moves at every width, as `fanin.coordinate_check` measured it.

    Attributes:
        rows: one a use of a map, in the order in which they ran at the smallest width; the model's output last.
        widths: rising.
        steps: updates.
        seeds: models of each width.
        optimizer: its name.
        lr: learning rate at the base width.
        recipe: that drew the weights, or "as constructed".
        groups: whether parameter groups were used.
        tolerance: of a slope.
        facts: spectral norms at the largest width, without a verdict.
        notes: what `fanin.param_groups` said.
    """

    rows: tuple[MapRow, ...]
    widths: tuple[int, ...]
    steps: int
    seeds: int
    optimizer: str
    lr: float
    recipe: str
    groups: bool
    tolerance: float
    facts: tuple[SpectralFact, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def slopes(self) -> dict[str, float]:
        """Name of a map -> its slope after the last step."""
        return {row.name: row.last.value for row in self.rows}

    @property
    def ok(self) -> bool:
        """Whether no map's change depends on the width beyond the tolerance."""
        return all(row.last.ok for row in self.rows)

    @property
    def summary(self) -> str:
        """One sentence: how many maps pass, and which is the worst."""
        bad = [row for row in self.rows if not row.last.ok]
        who = f"{self.optimizer}, rate {self.lr:g}, {self.recipe}{' with groups' if self.groups else ''}"
        count = counted(len(self.rows), "output")
        if not bad:
            return f"{who}: no change of {count} depends on the width beyond its error"
        worst = max(bad, key=lambda row: abs(row.last.value) if math.isfinite(row.last.value) else math.inf)
        said = f"slope {worst.last.value:.2f}" if math.isfinite(worst.last.value) else worst.last.verdict
        return f"{who}: the change depends on the width for {len(bad)} of {count}, most at {worst.name} ({said})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, schema version 1; numbers that are not finite are None."""
        plain: dict[str, Any] = _finite(
            jsonable(
                {
                    "schema": 1,
                    "ok": self.ok,
                    "widths": list(self.widths),
                    "steps": self.steps,
                    "seeds": self.seeds,
                    "optimizer": self.optimizer,
                    "lr": self.lr,
                    "recipe": self.recipe,
                    "groups": self.groups,
                    "tolerance": self.tolerance,
                    "maps": [
                        {
                            "name": row.name,
                            "verdict": row.last.verdict,
                            "slopes": [s.value for s in row.slopes],
                            "errors": [s.error for s in row.slopes],
                            "changes": {str(w): list(c) for w, c in row.changes.items()},
                        }
                        for row in self.rows
                    ],
                    "spectral": [jsonable(fact) for fact in self.facts],
                    "notes": list(self.notes),
                }
            )
        )
        return plain

    def __repr__(self) -> str:
        return f"<CoordinateCheck: {self.summary}>"

    def _repr_html_(self) -> str:
        from fanin.scaling.coordinate_views import coordinate_html

        return coordinate_html(self)

    def table(self) -> ColumnTable:
        """The slopes as a table that rich prints."""
        from fanin.scaling.coordinate_views import coordinate_table

        return coordinate_table(self)

    def show(self) -> None:
        """Print the table, the notes and the verdict."""
        from fanin.scaling.coordinate_views import print_check

        print_check(self)

    def figure(self) -> Figure:
        """Change over width on logarithmic axes: a panel for each step, a line for each map."""
        from fanin.scaling.coordinate_views import coordinate_figure

        return coordinate_figure(self)

    def save(self, path: str | Path) -> None:
        """Write the check: .json, .html (a page that needs no network), or the figure as .png, .svg or .pdf.

        Args:
            path: its ending gives the format.

        Raises:
            ArgumentError: another ending.
            OutputError: the file cannot be written.
        """
        from fanin.errors import ArgumentError
        from fanin.scaling.coordinate_views import coordinate_page

        ending = Path(path).suffix.lower()
        if ending in (".png", ".svg", ".pdf"):
            write_figure(path, self.figure())
        elif ending == ".html":
            write_text(path, coordinate_page(self))
        elif ending == ".json":
            write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        else:
            raise ArgumentError(f"the name ends in {ending!r}; a check is saved as .json, .html, .png, .svg or .pdf")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
