"""Findings that are known: a report saved before, whose findings are not shown again."""

from __future__ import annotations

from pathlib import Path

from fanin.checking.saved import read_report
from fanin.errors import ArgumentError

__all__ = ["read_baseline"]


def read_baseline(path: str | Path) -> frozenset[str]:
    """Fingerprints of the findings in a report saved as JSON or as a page, ignored ones included.

    Raises:
        ArgumentError: the file is no such report.
    """
    try:
        saved = read_report(path)
    except ArgumentError as error:
        raise ArgumentError(f"the baseline cannot be used: {error}") from error
    return frozenset(finding.fingerprint for finding in (*saved.findings, *saved.ignored))
