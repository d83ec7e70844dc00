"""Reports read back from files, as far as baselines and comparisons need them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.errors import ArgumentError, FaninError
from fanin.rules.finding import fingerprint
from fanin.text.names import clean
from fanin.text.reading import decode_json, read_bytes

__all__ = ["SavedFinding", "SavedReport", "read_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFinding:
    """A finding of a saved report.

    Attributes:
        code: of the rule, "S201".
        name: of the rule.
        severity: "note", "warning" or "error".
        place: the pattern of its paths, or the first of them.
        fingerprint: what a baseline remembers.
    """

    code: str
    name: str
    severity: str
    place: str
    fingerprint: str

    def __str__(self) -> str:
        return clean(f"{self.code} {self.name} {self.place}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReport:
    """A saved report.

    Attributes:
        verdict: its sentence.
        findings: root causes.
        ignored: findings that were left out.
        statistics: (operation, "rms" or "gradient") -> its positive finite value, of operations with weights. A page of
            a large model holds only part of them.
    """

    verdict: str
    findings: tuple[SavedFinding, ...]
    ignored: tuple[SavedFinding, ...]
    statistics: Mapping[tuple[str, str], float]


def read_report(path: str | Path) -> SavedReport:
    """A report that was saved as JSON or as a page.

    Raises:
        ArgumentError: the file is no such report.
    """
    try:
        held = read_bytes(path)
        document = _of_page(held.decode("utf-8")) if held.lstrip().startswith(b"<") else decode_json(held)
        return SavedReport(
            verdict=str(document["verdict"]),
            findings=tuple(map(_finding, document["findings"])),
            ignored=tuple(map(_finding, document["ignored"])),
            statistics=dict(_statistics(document["measurements"]["sites"])),
        )
    except (FaninError, UnicodeDecodeError) as error:
        why = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise _no_report(path, why) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise _no_report(path, "it is JSON of another kind") from error


def _no_report(path: str | Path, why: str) -> ArgumentError:
    return ArgumentError(
        f"'{clean(path)}' is no report ({clean(why).rstrip('.')}). Make one with report.save('report.json') or: fanin "
        "check TARGET --out report.json (or .html)"
    )


def _of_page(text: str) -> dict[str, Any]:
    """The document in a page, which leaves out what is empty."""
    from fanin.report.html.document import data_of

    document = dict(data_of(text))
    if "verdict" not in document:
        raise ArgumentError("the page is not that of a check")
    measurements = {"sites": [], **document.get("measurements", {})}
    return {"findings": [], "ignored": [], **document, "measurements": measurements}


def _finding(data: Mapping[str, Any]) -> SavedFinding:
    code, pattern, paths = str(data["code"]), str(data.get("pattern", "")), list(map(str, data.get("paths", ())))
    return SavedFinding(
        code=code,
        name=str(data["name"]),
        severity=str(data["severity"]),
        place=pattern or (paths[0] if paths else ""),
        fingerprint=fingerprint(code, pattern, paths),
    )


def _statistics(sites: Any) -> Iterator[tuple[tuple[str, str], float]]:
    for site in sites:
        if site["kind"] != "weight":
            continue
        name = f"{site.get('path', '')}:{site['op']}" + (f"#{site['call']}" if site.get("call") else "")
        for statistic, where in (("rms", "forward"), ("gradient", "backward")):
            value = (site.get(where) or {}).get("rms")
            if isinstance(value, float) and math.isfinite(value) and value > 0:
                yield (name, statistic), value
