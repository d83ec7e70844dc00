"""An experiment under a progress bar on stderr."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fanin.lab.experiments import Outcome, Settings, load
from fanin.lab.training import one_thread

__all__ = ["run_shown"]


def run_shown(name: str, settings: Settings) -> Outcome:
    """Run an experiment and show on stderr what it does.

    Args:
        name: of the experiment.
        settings: its `progress` is replaced.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(name, total=1.0)

        def show(message: str, done: float) -> None:
            bar.update(row, description=f"{name}: {message}", completed=done)

        with one_thread():
            return load(name).run(replace(settings, progress=show))
