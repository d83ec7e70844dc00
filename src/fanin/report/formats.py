"""The formats by name and by file ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean
from fanin.report.annotations import to_annotations
from fanin.report.html.document import notebook, to_html
from fanin.report.json_view import to_json
from fanin.report.junit import to_junit
from fanin.report.markdown import to_markdown
from fanin.report.sarif import to_sarif
from fanin.report.terminal import to_text
from fanin.rules.result import CheckResult

__all__ = ["ENDINGS", "FORMATS", "notebook", "render", "save"]

FORMATS: Mapping[str, Callable[[CheckResult], str]] = MappingProxyType(
    {
        "terminal": to_text,
        "json": to_json,
        "sarif": to_sarif,
        "github": to_annotations,
        "junit": to_junit,
        "markdown": to_markdown,
        "html": to_html,
    }
)
ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        ".txt": "terminal",
        ".json": "json",
        ".sarif": "sarif",
        ".xml": "junit",
        ".md": "markdown",
        ".html": "html",
        ".htm": "html",
    }
)


def render(result: CheckResult, format: str) -> str:
    """The report as text in a format of `FORMATS`.

    Raises:
        UnknownNameError: there is no such format.

    Example:
        >>> render(None, "htlm")
        Traceback (most recent call last):
        ...
        fanin.errors.UnknownNameError: no report format is called 'htlm'; did you mean 'html'?
    """
    if format not in FORMATS:
        raise UnknownNameError(f"no report format is called {format!r}; {did_you_mean(format, FORMATS)}")
    return FORMATS[format](result)


def save(result: CheckResult, path: str | Path) -> Path:
    """Write the report to a file whose ending says the format (`ENDINGS`).

    The text is made first and written last: an error leaves an existing file as it was.

    Raises:
        ArgumentError: the ending names no format.
    """
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise ArgumentError(
            f"the ending of {str(target)!r} names no report format; use one of {', '.join(ENDINGS)}, "
            "or write the text of fanin.report.render(result, format) yourself"
        )
    text = render(result, ENDINGS[target.suffix.lower()])
    target.write_text(text, encoding="utf-8", newline="\n")
    return target
