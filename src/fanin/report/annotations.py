"""Annotations as workflow commands of GitHub Actions: one line a finding."""

from __future__ import annotations

from types import MappingProxyType

from fanin.report.places import source_of
from fanin.report.rows import findings_by_severity, limit_of, where
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult, Header
from fanin.text.names import one_line, sentence

__all__ = ["to_annotations"]

_COMMANDS = MappingProxyType({"error": "error", "warning": "warning", "note": "notice"})


def to_annotations(result: CheckResult) -> str:
    """One annotation a finding, worst first; the file and line are given only where they are known.

    A notice names the batch that training started with, where that is known.
    """
    lines = [_annotation(f, result.header) for f in findings_by_severity(result.findings)]
    return "".join(f"{line}\n" for line in (*lines, *_batch(result.header)))


def _batch(header: Header) -> list[str]:
    if not header.batch_hash:
        return []
    return [f"::notice title=fanin batch::training started with {_data(f'{header.batch}, hash {header.batch_hash}')}"]


def _annotation(finding: Finding, header: Header) -> str:
    place = source_of(finding, header.source_lines)
    where_to = {"file": place[0], "line": str(place[1])} if place else {}
    properties = {**where_to, "title": f"{finding.code} {finding.name}"}
    written = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    head = ": ".join(part for part in (where(finding, 200), limit_of(finding)) if part)
    parts = (f"{head}.", sentence(finding.message), sentence(finding.fix.text))
    return f"::{_COMMANDS[finding.severity]} {written}::{_data(' '.join(part for part in parts if part))}"


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
