"""The steps of a run while it goes on: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.table import Table

from fanin.measure.steps import StepRecord
from fanin.report.steps import HEADS, cells

__all__ = ["Screen"]

_ROWS = 12
_WIDTHS = (5, 9, 9, 9, 9, 9, 6)


class Screen:
    """Shows each measured step on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._rows: list[tuple[str, ...]] = []
        self._live: Live | None = None
        self._begun = False

    def add(self, step: StepRecord) -> None:
        """Show one more step."""
        self._rows.append(cells(step))
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, transient=False, auto_refresh=False)
                self._live.start()
            self._live.update(self._table(), refresh=True)
            return
        if not self._begun:
            self._print(HEADS)
            self._begun = True
        self._print(self._rows[-1])

    def close(self) -> None:
        """End the table; what is on the screen stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, row: tuple[str, ...]) -> None:
        line = "  ".join(cell.rjust(width) for cell, width in zip(row, _WIDTHS, strict=True))
        self._console.print(line, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", padding=(0, 1))
        for head in HEADS:
            table.add_column(head, justify="right")
        for row in self._rows[-_ROWS:]:
            table.add_row(*row)
        return table
