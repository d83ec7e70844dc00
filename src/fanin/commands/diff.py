"""``fanin diff``: what changed between two plans, two reports, or a plan and a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.commands.options import InputShape, TableFormat
from fanin.commands.weights import diff_files, diff_plan_with_file, is_weights_file
from fanin.errors import TargetError
from fanin.text.names import clean

if TYPE_CHECKING:
    from fanin.planning.diff import PlanDiff

__all__ = ["diff", "difference"]


def diff(
    left: Annotated[
        str,
        typer.Argument(help="A plan or report of fanin, a .safetensors file, or a target to plan."),
    ],
    right: Annotated[
        str, typer.Argument(help="A plan, a later report, or a .safetensors file or a target to compare with it.")
    ],
    input_shape: InputShape = None,
    form: TableFormat = "table",
) -> None:
    """Print what differs between plans, reports, or plan and model.

    Exit status 1 if plans or weights differ; for two reports, if the second has findings that the first has not.
    """
    from fanin.checking.compare import compare_reports, is_report

    if is_report(left):
        changed = compare_reports(Path(left), Path(right))
        typer.echo(str(changed) if form == "table" else json.dumps(changed.to_dict(), indent=1, ensure_ascii=False))
        raise typer.Exit(1 if changed.worse else 0)
    found = difference(left, right, input_shape)
    if form == "table":
        from fanin.text.console import standard_console

        standard_console().print(found)
    else:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    raise typer.Exit(1 if found else 0)


def difference(left: str, right: str, input_shape: str | None = None) -> PlanDiff:
    """What differs between two plans, or between a plan and a model; nothing where both sides are the same text.

    Args:
        left: a JSON file, a .safetensors file, or a target that is planned with ``auto``.
        right: a JSON file, or a .safetensors file or a target whose weights are compared with `left`.
        input_shape: for targets.
    """
    from fanin.commands.plan import planned
    from fanin.commands.targets import load_target
    from fanin.planning.plan import Plan

    if is_weights_file(left):
        if not is_weights_file(right):
            raise TargetError("a file of weights is compared with another; a plan, or a target to plan, comes first")
        return diff_files(left, right)
    one = Plan.load(left) if _is_file(left) else planned(left, input_shape=input_shape, keep_unknown=True)[1]
    if left == right:  # one plan twice: a target that is called again draws other weights
        return one.diff(one)
    if is_weights_file(right):
        return diff_plan_with_file(one, right)
    if _is_file(right):
        return one.diff(Plan.load(right))
    return one.diff(load_target(right, input_shape=input_shape).model)


def _is_file(text: str) -> bool:
    if text.endswith(".json"):
        if not Path(text).is_file():
            raise TargetError(f"no file '{clean(text)}' (looked from {clean(Path.cwd())})")
        return True
    return False
