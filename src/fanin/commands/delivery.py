"""How commands that give a report print and write it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fanin.commands.saying import say
from fanin.errors import ArgumentError
from fanin.text.names import clean

if TYPE_CHECKING:
    from fanin.checking.report import Report

__all__ = ["ConfigPath", "FailOn", "FormatOption", "Outs", "ReportFormat", "assert_deliverable", "deliver"]

ReportFormat = Literal["terminal", "json", "sarif", "github", "junit", "markdown", "html"]
FormatOption = Annotated[
    ReportFormat | None, typer.Option("--format", help="How to print; terminal, and nothing with --out.")
]
Outs = Annotated[
    list[Path] | None,
    typer.Option("--out", help="Write to this file; its ending gives the format. May be repeated."),
]
FailOn = Annotated[
    Literal["note", "warning", "error"] | None, typer.Option(help="Lowest severity that gives exit status 1.")
]
ConfigPath = Annotated[
    Path, typer.Option(help="File or folder with the settings: pyproject.toml, searched for upwards.")
]


def assert_deliverable(form: ReportFormat | None, files: list[Path] | None, *, verbose: bool, quiet: bool) -> None:
    """Refuse, before any work, what cannot be printed or written.

    Raises:
        ArgumentError: two options contradict each other, or the ending of a file names no format.
        OutputError: a file cannot be written.
    """
    from fanin import report as reports

    if verbose and quiet:
        raise ArgumentError("--verbose prints more and --quiet less; leave one of them out")
    for path in (None, *(files or [])):
        reports.assert_output(form or "terminal", path)


def deliver(found: Report, form: ReportFormat | None, files: list[Path] | None, *, verbose: bool, quiet: bool) -> None:
    """Write the files, print the report, end with status 1 where it is not ok."""
    from fanin import report as reports

    for path in files or []:
        say(f"wrote {clean(found.save(path))}")
    if form not in (None, "terminal"):
        typer.echo(reports.render(found.result, form))
    elif quiet:
        typer.echo(clean(found.verdict))
    elif form == "terminal" or not files:
        found.show(verbose=verbose)
    if not found.ok:
        raise typer.Exit(1)
