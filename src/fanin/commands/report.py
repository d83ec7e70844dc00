"""``fanin report``: draw a training run that `fanin.watch` stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.commands.delivery import ConfigPath, FailOn, FormatOption, Outs, assert_deliverable, deliver
from fanin.commands.options import Quiet, Verbose
from fanin.errors import MissingDependencyError

__all__ = ["report"]


def report(
    file: Annotated[Path, typer.Argument(help="What fanin.watch(..., out=FILE) wrote; a run may still be going on.")],
    fail_on: FailOn = None,
    config: ConfigPath = Path(),
    form: FormatOption = None,
    out: Outs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Draw and judge the first steps of a stored training run.

    The file is that of fanin.watch. Settings are read from [tool.fanin] in pyproject.toml. Exit status 1 if anything is
    found at or above --fail-on.
    """
    assert_deliverable(form, out, verbose=verbose, quiet=quiet)
    from fanin.rules.config import load_config

    settings = load_config(config, fail_on=fail_on)
    MissingDependencyError.unless_installed("torch", extra="torch", needed_for="fanin report")
    from fanin.watching.stored import stored_report

    deliver(stored_report(file, settings), form, out, verbose=verbose, quiet=quiet)
