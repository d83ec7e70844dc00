"""What changed between two reports that were saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.checking.saved import SavedFinding, SavedReport, read_report
from fanin.errors import ArgumentError
from fanin.text.jsonable import jsonable
from fanin.text.names import clean, one_line
from fanin.text.numbers import big

__all__ = ["Moved", "ReportDiff", "compare_reports", "is_report"]

_FACTOR = 2.0  # a statistic that changed by less is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A statistic of an operation that changed by more than a factor of two.

    Attributes:
        operation: its name.
        statistic: "rms" or "gradient".
        before: in the first report.
        after: in the second.
    """

    operation: str
    statistic: str
    before: float
    after: float

    def __str__(self) -> str:
        change = f"{big(self.before)} -> {big(self.after)} (x{big(self.after / self.before)})"
        return f"{clean(self.operation)} {self.statistic}: {change}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDiff:
    """What changed between two reports.

    Attributes:
        new: findings that only the second has; notes are left out.
        gone: findings that only the first has.
        moved: statistics that changed by more than a factor of two.
        verdicts: of both.
    """

    new: tuple[SavedFinding, ...]
    gone: tuple[SavedFinding, ...]
    moved: tuple[Moved, ...]
    verdicts: tuple[str, str]

    @property
    def worse(self) -> bool:
        """There are findings that were not there before."""
        return bool(self.new)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**jsonable(self), "worse": self.worse}

    def __str__(self) -> str:
        lines = [f"before: {one_line(self.verdicts[0])}", f"after:  {one_line(self.verdicts[1])}"]
        lines += [f"new   {finding}" for finding in self.new] + [f"gone  {finding}" for finding in self.gone]
        lines += [f"moved {moved}" for moved in self.moved]
        return "\n".join(lines if len(lines) > 2 else [*lines, "nothing changed"])


def is_report(path: str | Path) -> bool:
    """Whether a file is a report saved as JSON or as a page."""
    try:
        read_report(path)
    except ArgumentError:
        return False
    return True


def compare_reports(old: str | Path, new: str | Path) -> ReportDiff:
    """What changed between two reports saved as JSON or as pages.

    Args:
        old: file of the first report.
        new: file of the second report.

    Raises:
        ArgumentError: a file is no such report.
    """
    before, after = read_report(old), read_report(new)
    had, has = _told(before), _told(after)
    return ReportDiff(
        new=tuple(finding for key, finding in has.items() if key not in had),
        gone=tuple(finding for key, finding in had.items() if key not in has),
        moved=tuple(_moved(before, after)),
        verdicts=(before.verdict, after.verdict),
    )


def _told(report: SavedReport) -> dict[str, SavedFinding]:
    """Fingerprint -> finding, of warnings and errors."""
    return {f.fingerprint: f for f in report.findings if f.severity != "note"}


def _moved(before: SavedReport, after: SavedReport) -> Iterator[Moved]:
    for (operation, statistic), old in before.statistics.items():
        new = after.statistics.get((operation, statistic))
        if new is not None and abs(math.log(new / old)) > math.log(_FACTOR):
            yield Moved(operation=operation, statistic=statistic, before=old, after=new)
