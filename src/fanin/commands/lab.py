"""The lab on the command line: progress on stderr, results on stdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fanin.lab.experiments import EXPERIMENTS, Outcome, Settings, load
from fanin.lab.training import one_thread
from fanin.text.files import make_folder

__all__ = ["list_experiments", "run_experiment", "watched"]


def list_experiments() -> None:
    """Print the table of experiments."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("experiment", no_wrap=True)
    table.add_column("what it shows")
    for name, (_, shows) in EXPERIMENTS.items():
        table.add_row(name, shows)
    Console().print(table)


def watched(name: str, settings: Settings) -> Outcome:
    """Carry out an experiment under a progress bar on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(name, total=1.0)

        def show(message: str, done: float) -> None:
            bar.update(row, description=f"{name}: {message}", completed=done)

        with one_thread():
            return load(name).run(replace(settings, progress=show))


def run_experiment(name: str, *, out: Path, full: bool, seed: int, workers: int) -> None:
    """Carry out an experiment, write its figure and numbers, print its paragraph."""
    make_folder(out)  # what fails here fails before the work
    outcome = watched(name, Settings(seed=seed, full=full, workers=workers))
    picture, numbers = outcome.save(out)
    console = Console()
    console.print(Text(outcome.title, style="bold"))
    console.print(Padding(Text(outcome.text), (0, 0, 1, 0)))
    console.print(Text(f"figure:  {picture}\nnumbers: {numbers}"), soft_wrap=True)
