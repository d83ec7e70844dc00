"""``fanin lab``: run an experiment, or list them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.commands.options import Seed
from fanin.errors import MissingDependencyError

__all__ = ["lab"]


def lab(
    name: Annotated[str, typer.Argument(help="Experiment; 'list' prints all of them.")] = "list",
    out: Annotated[Path, typer.Option(help="Folder for NAME.png and NAME.json.")] = Path("lab-out"),
    full: Annotated[bool, typer.Option("--full", help="Run the larger version; it may take long.")] = False,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="Trainings that run at the same time.")] = 2,
) -> None:
    """Run an experiment: a figure, its numbers, an explanation."""
    if name == "list":
        _list()
    else:
        _run(name, out=out, full=full, seed=seed, workers=workers)


def _list() -> None:
    from fanin.lab.experiments import EXPERIMENTS
    from fanin.text.columns import Column, ColumnTable
    from fanin.text.console import standard_console

    rows = tuple((name, shows) for name, (_, shows) in EXPERIMENTS.items())
    standard_console().print(ColumnTable("experiment", (Column(title="what it shows", least=24),), rows))


def _run(name: str, *, out: Path, full: bool, seed: int, workers: int) -> None:
    MissingDependencyError.unless_lab(needed_for="an experiment")
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from fanin.lab.experiments import Settings, load
    from fanin.lab.progress import run_shown
    from fanin.text.files import make_folder

    load(name)
    make_folder(out)  # what fails here fails before the work
    outcome = run_shown(name, Settings(seed=seed, full=full, workers=workers))
    picture, numbers = outcome.save(out)
    console = Console()
    console.print(Text(outcome.title, style="bold"))
    console.print(Padding(Text(outcome.text), (0, 0, 1, 0)))
    console.print(Text(f"figure:  {picture}\nnumbers: {numbers}"), soft_wrap=True)
