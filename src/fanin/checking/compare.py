"""What changed between two reports that were saved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.checking.saved import fingerprint_of, read_report
from fanin.errors import ArgumentError
from fanin.text.jsonable import jsonable
from fanin.text.names import clean, one_line
from fanin.text.numbers import big

__all__ = ["Entry", "Moved", "ReportDiff", "compare_reports", "is_report"]

_FACTOR = 2.0  # a statistic that changed by less is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finding that only one of two reports has.

    Attributes:
        code: of the rule, "S201".
        name: of the rule.
        place: the pattern of its paths, or the first of them.
    """

    code: str
    name: str
    place: str

    def __str__(self) -> str:
        return clean(f"{self.code} {self.name} {self.place}")


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

    new: tuple[Entry, ...]
    gone: tuple[Entry, ...]
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
        lines += [f"new   {entry}" for entry in self.new] + [f"gone  {entry}" for entry in self.gone]
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

    A page of a large model holds only part of its statistics; it holds all findings.

    Args:
        old: file of the first report.
        new: file of the second report.

    Raises:
        ArgumentError: a file is no such report.
    """
    before, after = read_report(old), read_report(new)
    had, has = _entries(before), _entries(after)
    return ReportDiff(
        new=tuple(entry for key, entry in has.items() if key not in had),
        gone=tuple(entry for key, entry in had.items() if key not in has),
        moved=tuple(_moved(before, after)),
        verdicts=(str(before["verdict"]), str(after["verdict"])),
    )


def _entries(document: Mapping[str, Any]) -> dict[str, Entry]:
    """Fingerprint -> finding, of warnings and errors."""
    found = [f for f in document["findings"] if f["severity"] != "note"]
    return {fingerprint_of(f): _entry(f) for f in found}


def _entry(finding: Mapping[str, Any]) -> Entry:
    place = finding.get("pattern") or (finding.get("paths") or [""])[0]
    return Entry(code=finding["code"], name=finding["name"], place=place)


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Moved]:
    old, new = _statistics(before), _statistics(after)
    for (operation, statistic), a in old.items():
        b = new.get((operation, statistic))
        if b is not None and abs(math.log(b / a)) > math.log(_FACTOR):
            yield Moved(operation=operation, statistic=statistic, before=a, after=b)


def _statistics(document: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """(operation, statistic) -> positive finite number, of operations with weights."""
    found: dict[tuple[str, str], float] = {}
    for site in document["measurements"]["sites"]:
        if site["kind"] == "weight":
            name = f"{site.get('path', '')}:{site['op']}" + (f"#{site['call']}" if site.get("call") else "")
            for statistic, where in (("rms", "forward"), ("gradient", "backward")):
                found[name, statistic] = (site.get(where) or {}).get("rms") or 0.0
    return {k: v for k, v in found.items() if isinstance(v, float) and math.isfinite(v) and v > 0}
