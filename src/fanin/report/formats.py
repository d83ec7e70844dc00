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
from fanin.text.files import assert_place, named_file, write_text
from fanin.text.names import clean

__all__ = ["ENDINGS", "FORMATS", "assert_output", "format_of", "notebook", "render", "save"]

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


def format_of(path: str | Path) -> str:
    """The format that the ending of a file's name gives (`ENDINGS`).

    Raises:
        ArgumentError: the ending names no format.

    Example:
        >>> format_of("report.HTML")
        'html'
    """
    ending = Path(named_file(path)).suffix.lower()
    if ending not in ENDINGS:
        raise ArgumentError(
            f"the ending of '{clean(path)}' names no report format; use one of {', '.join(ENDINGS)}, "
            "or write the text of fanin.report.render(result, format) yourself"
        )
    return ENDINGS[ending]


def assert_output(format: str, path: str | Path | None) -> None:
    """Check, before any work, that a report can be given in this format, or written to this file.

    Raises:
        UnknownNameError: there is no such format.
        ArgumentError: the ending of the file names no format.
        OutputError: the file cannot be written.

    Example:
        >>> assert_output("json", None)
    """
    if format not in FORMATS:
        raise UnknownNameError(f"no report format is called {format!r}; {did_you_mean(format, FORMATS)}")
    if path is not None:
        format_of(path)
        assert_place(path)


def save(result: CheckResult, path: str | Path) -> Path:
    """Write the report to a file whose ending gives the format (`ENDINGS`).

    The text is made first and written last: an error leaves an existing file as it was.

    Raises:
        ArgumentError: the ending names no format.
        OutputError: the file cannot be written; what was there is kept.
    """
    write_text(path, render(result, format_of(path)))
    return Path(path)
