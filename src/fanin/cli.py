"""The command line: a thin layer over the public API.

Results go to stdout, progress and errors to stderr. Exit status: 0 clean, 1 findings, 2 usage or internal error. Commands
import what they need when they run, so that ``fanin --help`` stays quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fanin._version import __version__
from fanin.errors import FaninError

__all__ = ["app", "main"]

app = typer.Typer(
    name="fanin",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Plan, apply and prove the initial weights of any neural network.",
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"fanin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and stop.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figure and the page.")] = Path("demo-out"),
) -> None:
    """Show the main job on real digits: three scales, then check, plan, apply and check again."""
    from fanin.lab.demo import run_demo

    run_demo(out)


@app.command()
def lab(
    name: Annotated[str, typer.Argument(help="Experiment; 'list' names them all.")] = "list",
    out: Annotated[Path, typer.Option(help="Folder for NAME.png and NAME.json.")] = Path("lab-out"),
    full: Annotated[bool, typer.Option("--full", help="The larger version; may take long.")] = False,
    seed: Annotated[int, typer.Option(help="Of first weights and batches.")] = 0,
    workers: Annotated[int, typer.Option(help="Trainings at a time.")] = 2,
) -> None:
    """Run an experiment that people learn from: a figure, its numbers, and a paragraph that says what is seen."""
    from fanin.lab.terminal import list_experiments, run_experiment

    if name == "list":
        list_experiments()
    else:
        run_experiment(name, out=out, full=full, seed=seed, workers=workers)


def main() -> None:
    """Entry point of the ``fanin`` command."""
    try:
        app()
    except FaninError as error:
        typer.echo(f"fanin: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("fanin: interrupted", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
