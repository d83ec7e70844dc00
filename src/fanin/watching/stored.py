"""The report of a run that was stored by `fanin.watch(..., out=FILE)`."""

from __future__ import annotations

from dataclasses import replace

from fanin.checking.report import Report
from fanin.report.steps import CUT
from fanin.rules.config import Config
from fanin.text.files import PathLike
from fanin.watching.judging import judged
from fanin.watching.store import read_run

__all__ = ["stored_report"]


def stored_report(path: PathLike, config: Config) -> Report:
    """The stored run, judged by today's rules.

    Args:
        path: a file that `fanin.watch` wrote.
        config: which rules judge it, and their thresholds.

    Raises:
        ArgumentError: the file holds no such run.
        InputError: the file cannot be read.
    """
    run = read_run(path)
    result = judged(run.first, run.watched, config, run.optimizer)
    if not run.cut:
        return Report(result)
    missing = {**result.measurements.missing, CUT: "it is not whole, so that step is left out"}
    return Report(replace(result, measurements=replace(result.measurements, missing=missing)))
