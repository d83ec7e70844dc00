"""``fanin gain``: print the gains of activations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.commands.options import TableFormat

if TYPE_CHECKING:
    from fanin.theory.overview import GainRow

__all__ = ["gain", "gains_to_json"]


def gain(
    phi: Annotated[
        list[str],
        typer.Argument(help="Activations: a name (gelu, 'leaky_relu(0.2)'), file.py:function or module:function."),
    ],
    q: Annotated[float, typer.Option(help="Variance of the pre-activation.")] = 1.0,
    form: TableFormat = "table",
) -> None:
    """Print the gain of activations: std = gain / sqrt(fan)."""
    from rich.console import Console

    from fanin.commands.targets import load_activation
    from fanin.report.theory_tables import GainTable
    from fanin.theory.overview import gain_row

    rows = [gain_row(load_activation(name), q=q) for name in phi]
    if form == "json":
        typer.echo(gains_to_json(rows))
    else:
        Console(highlight=False).print(GainTable(rows))


def gains_to_json(rows: Sequence[GainRow]) -> str:
    """The rows as JSON, schema version 1.

    Example:
        >>> gains_to_json([])
        '{"schema": 1, "gains": []}'
    """
    from fanin.text.jsonable import jsonable

    return json.dumps({"schema": 1, "gains": jsonable(rows)}, allow_nan=False)
