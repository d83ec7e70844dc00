"""``fanin verify``: hold a folder of weights against a plan, without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.commands.options import TableFormat
from fanin.commands.saying import tell
from fanin.errors import InputError
from fanin.text.names import clean

if TYPE_CHECKING:
    from fanin.planning.verify_folder import FolderVerification

__all__ = ["verify"]


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint: its .safetensors files and their index.")],
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="The plan that the weights were drawn from; plan.json of the folder if left out."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Of the weights, where they were written in another one: bfloat16.")
    ] = None,
    form: TableFormat = "table",
) -> None:
    """Compare a folder of weights with a plan, bit for bit.

    The weights are drawn again slice by slice: neither the folder nor a model is loaded. Exit status 1 if anything
    departs from the plan.
    """
    from fanin.planning.plan import Plan

    found = Plan.load(plan or _plan_of(folder)).verify(folder, dtype=dtype)
    if form == "json":
        typer.echo(json.dumps(_data(found)))
    else:
        tell(str(found))
    raise typer.Exit(0 if found.ok else 1)


def _plan_of(folder: Path) -> Path:
    """The plan that `fanin init --out folder` wrote beside the weights."""
    from fanin.commands.init import PLAN

    if not (folder / PLAN).is_file():
        raise InputError(
            f"there is no {PLAN} in '{clean(folder)}'. Give --plan FILE; fanin plan TARGET --out FILE writes one, with "
            "the recipe and the seed that the weights were drawn with."
        )
    return folder / PLAN


def _data(found: FolderVerification) -> dict[str, object]:
    names = ("ok", "bits", "not_checked", "departures")
    return {name: getattr(found, name) for name in names}
