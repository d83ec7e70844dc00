"""`Comparison`: finished runs and their verdicts, with table, figure and file as methods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fanin.lab.verdicts import ComparisonData
from fanin.text.files import write_figure, write_text
from fanin.text.names import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fanin.lab.tables import ComparisonTable

__all__ = ["Comparison"]


class Comparison(ComparisonData):
    """Finished runs, and what follows from them.

    Attributes:
        runs: every run.
        inits: names in the order given; the first is the one that others are tested against.
        tasks: names in the order given.
        target: the loss that `steps_to_target` counts to.
    """

    __slots__ = ()

    def table(self) -> ComparisonTable:
        """The verdicts as a table that rich can print."""
        from fanin.lab.tables import ComparisonTable

        return ComparisonTable(self)

    def __repr__(self) -> str:
        starts = ", ".join(clean(v.init) for v in self.verdicts)
        return f"<Comparison of {len(self.runs)} runs, best start first: {starts}>"

    def _repr_html_(self) -> str:
        from fanin.lab.tables import comparison_html

        return comparison_html(self)

    def show(self) -> None:
        """Print the table."""
        from fanin.text.console import standard_console

        standard_console().print(self.table())

    def figure(self) -> Figure:
        """Loss over steps at each init's best learning rate, and final loss over the learning rate."""
        from fanin.lab.figures import comparison_figure

        return comparison_figure(self)

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, or the figure where the name ends in .png, .svg or .pdf."""
        if Path(path).suffix.lower() in (".png", ".svg", ".pdf"):
            write_figure(path, self.figure())
        else:
            write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")
