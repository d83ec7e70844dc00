"""``fanin demo``: the main job on real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fanin.errors import MissingDependencyError

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the figures and the report page.")] = Path("demo-out"),
) -> None:
    """Show the whole job on real digits, in under a minute.

    Digits are trained from three weight scales; then a deep network is checked, planned, started and checked again.
    """
    MissingDependencyError.unless_lab(needed_for="fanin demo")
    from fanin.lab.demo import run_demo

    run_demo(out)
