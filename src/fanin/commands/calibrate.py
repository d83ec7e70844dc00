"""``fanin calibrate``: measure every weighted operation of a model, and repair the weights that are off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fanin.commands.check import load_weights
from fanin.commands.init import assert_weights_file, num_bytes, save_weights
from fanin.commands.options import InputShape, Seed, TableFormat, Target
from fanin.commands.saying import say
from fanin.errors import ArgumentError, TargetError
from fanin.text.names import clean
from fanin.text.numbers import counted

if TYPE_CHECKING:
    from fanin.calibration.target import TargetOption

__all__ = ["calibrate"]


def calibrate(
    target: Target,
    input_shape: InputShape = None,
    weights: Annotated[Path | None, typer.Option(help="A .safetensors file to load into the model first.")] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Plan (JSON) that says what outputs should measure; by default that of auto.")
    ] = None,
    aim: Annotated[
        str, typer.Option("--target", help="What outputs should measure: plan, unit (1 everywhere), or a number.")
    ] = "plan",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Correct weights with names like this glob, and only measure others. May be repeated."),
    ] = None,
    statistic: Annotated[
        Literal["robust", "rms"],
        typer.Option(help="Root mean square of all numbers, or one that a few wild samples do not move."),
    ] = "robust",
    tolerance: Annotated[
        float, typer.Option(help="Standard errors within which a weight stays as it is; 0 corrects everything.")
    ] = 3.0,
    center: Annotated[
        bool, typer.Option("--center", help="Also set biases to minus the mean of each channel; seldom helps.")
    ] = False,
    seed: Seed = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and write nothing.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if a weight cannot be reached: frozen, fused, tied to a table.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Weights file to write, .safetensors.")] = None,
    plan_out: Annotated[
        Path | None, typer.Option(help="Write the plan with the factors to this file, as JSON.")
    ] = None,
    form: TableFormat = "table",
) -> None:
    """Measure weighted operations, and repair weights that are off.

    One forward pass finds the factor that each weight lacks, a second one verifies. Exit status 0: nothing was outside
    the tolerance; 1: something was corrected, or is off and cannot be.
    """
    from fanin.calibration.calibrate import calibrate as calibrate_model
    from fanin.commands.targets import load_target, quiet
    from fanin.planning.plan import Plan
    from fanin.text.files import assert_place

    if dry_run and out is not None:
        raise ArgumentError("--dry-run writes nothing, so there are no weights for --out; leave one of them out")
    if out is not None:
        assert_weights_file(out)
    if plan_out is not None:
        assert_place(plan_out)
    read = None if plan is None else Plan.load(plan)
    loaded = load_target(target, input_shape=input_shape, seed=seed)
    if loaded.inputs is None:
        raise TargetError(
            f"{target!r} gave no inputs; return (model, inputs), or give their shape: --input 8,3,224,224"
        )
    if weights is not None:
        load_weights(loaded.model, weights)
    with quiet():
        found = calibrate_model(
            loaded.model,
            loaded.inputs,
            read,
            target=_aim(aim),
            only=only,
            statistic=statistic,
            tolerance=tolerance,
            center=center,
            seed=seed,
            dry_run=dry_run,
            strict=strict,
            progress=True,
        )
    if form == "table":
        found.show()
    else:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    if plan_out is not None:
        found.plan.save(plan_out)
        say(f"wrote {clean(plan_out)}")
    if out is not None:
        assert_weights_file(out, num_bytes(loaded.model))
        save_weights(loaded.model, out, note=f"calibrated, {counted(len(found.changed), 'weight')} changed")
        say(f"wrote {clean(out)}")
    if not found.ok:
        raise typer.Exit(1)


def _aim(text: str) -> TargetOption:
    """The target as `fanin.calibrate` takes it.

    Raises:
        ArgumentError: neither plan, unit nor a number.
    """
    if text == "plan" or text == "unit":
        return "plan" if text == "plan" else "unit"
    try:
        return float(text)
    except ValueError:
        raise ArgumentError(f"--target is plan, unit or a number; got {text!r}") from None
