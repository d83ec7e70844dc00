"""Reports read back from files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanin.errors import ArgumentError
from fanin.rules.finding import fingerprint
from fanin.text.names import clean

__all__ = ["fingerprint_of", "read_report"]


def read_report(path: str | Path) -> dict[str, Any]:
    """The document of a report that was saved as JSON or as a page.

    Raises:
        ArgumentError: the file is no such report.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        document: dict[str, Any] = _of_page(text) if text.lstrip().startswith("<") else json.loads(text)
        _ = document["verdict"], document["measurements"]["sites"]
        for finding in (*document["findings"], *document["ignored"]):
            fingerprint_of(finding)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ArgumentError(
            f"'{clean(path)}' is no report ({type(error).__name__}: {clean(error)}). Make one with "
            "report.save('report.json') or: fanin check TARGET --out report.json (or .html)"
        ) from error
    return document


def _of_page(text: str) -> dict[str, Any]:
    """The document in a page, which leaves out what is empty."""
    from fanin.report.html.document import data_of

    document = dict(data_of(text))
    if "verdict" not in document:
        raise ArgumentError("the page is not that of a check")
    measurements = {"sites": [], **document.get("measurements", {})}
    return {"findings": [], "ignored": [], **document, "measurements": measurements}


def fingerprint_of(finding: Mapping[str, Any]) -> str:
    """The fingerprint of a finding in such a document."""
    return fingerprint(finding["code"], finding.get("pattern", ""), finding.get("paths", ()))
