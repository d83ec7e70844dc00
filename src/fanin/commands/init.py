"""``fanin init``: plan a model, draw its weights, write them to a file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanin.commands.options import (
    Frozen,
    InputShape,
    KeepUnknown,
    Meta,
    Override,
    Recipe,
    RecipeOption,
    Seed,
    Stats,
    Target,
    TrialOption,
)
from fanin.commands.plan import planned
from fanin.commands.progress import bytes_shown
from fanin.commands.saying import say
from fanin.commands.stats import shown
from fanin.errors import ArgumentError, OutputError
from fanin.text.names import clean, one_line
from fanin.text.numbers import counted
from fanin.timing import part

if TYPE_CHECKING:
    import torch

    from fanin.planning.plan import Plan

__all__ = ["PLAN", "assert_weights_file", "init", "num_bytes", "save_weights", "write_weights"]

PLAN = "plan.json"  # in a folder of weights: the plan that they were drawn from


def init(
    target: Target,
    out: Annotated[Path, typer.Option(help="Weights to write: a file, .safetensors, or a folder (slice by slice).")],
    input_shape: InputShape = None,
    recipe: Recipe = "auto",
    seed: Seed = 0,
    option: RecipeOption = None,
    override: Override = None,
    meta: Meta = False,
    keep_unknown: KeepUnknown = False,
    frozen: Frozen = "keep",
    trial: TrialOption = True,
    stats: Stats = False,
) -> None:
    """Plan a model, draw its weights, write them to a file."""
    from fanin.planning.trial_table import trial_text
    from fanin.text.console import WIDTH, error_width

    if out.suffix:
        assert_weights_file(out)
    else:
        _assert_folder(out, recipe=recipe, seed=seed)
    with shown(stats):
        model, made = planned(
            target,
            input_shape=input_shape,
            recipe=recipe,
            seed=seed,
            options=option or (),
            overrides=override or (),
            meta=meta,
            keep_unknown=keep_unknown,
            frozen=frozen,
            trial=trial,
            strict=True,
            look=None if out.suffix else functools.partial(_assert_own_shapes, out / PLAN),
        )
        for warning in made.warnings:
            say(f"warning: {one_line(warning)}")
        typer.echo(trial_text(made.extras["trial"], error_width() or WIDTH), err=True)
        with part("write"):
            told = write_weights(made, model, out) if out.suffix else _write_folder(made, model, out)
        say(told)


def _write_folder(plan: Plan, model: torch.nn.Module, out: Path) -> str:
    _assert_own_plan(plan, out / PLAN)
    with bytes_shown("writing weights") as bar:
        written = plan.write(out, model=model, progress=bar)
    plan.save(out / PLAN)
    return f"{written}. The plan is in {clean(out / PLAN)}; fanin verify {clean(out)} compares the weights with it"


def _assert_folder(out: Path, *, recipe: str, seed: int) -> None:
    """Check, before any work, that a folder can be made or written to, and holds no plan of another recipe or seed."""
    from fanin.text.files import assert_folder

    assert_folder(out)
    if (out / PLAN).exists():
        held = _plan_at(out / PLAN)
        _assert_own(out / PLAN, held is not None and (held.recipe, held.seed) == (recipe, seed))


def _assert_own_shapes(place: Path, model: torch.nn.Module) -> None:
    """Check, before the plan is made, that a file under its name is a plan of this model's parameters."""
    held = _plan_at(place)
    if held is not None:
        planned = {name: a.shape for a in held.assignments.values() for name in a.names}
        has = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
        _assert_own(place, all(planned.get(name) == shape for name, shape in has.items()))


def _assert_own_plan(plan: Plan, place: Path) -> None:
    """Check, before the first byte, that a file under the plan's name is this plan; another is not written over."""
    if place.exists():
        held = _plan_at(place)
        _assert_own(place, held is not None and held.digest() == plan.digest())


def _assert_own(place: Path, own: bool) -> None:
    if not own:
        raise OutputError(
            f"'{clean(place)}' is there and is not this plan, so it is not written over. Give another folder, or move "
            "the file."
        )


def _plan_at(place: Path) -> Plan | None:
    """The plan in a file; None where there is no file, or no plan in it."""
    from fanin.errors import InputError, PlanError
    from fanin.planning.plan import Plan

    try:
        return Plan.load(place)
    except (InputError, PlanError):
        return None


def assert_weights_file(out: Path, num_bytes: int = 1) -> None:
    """Check, before any work, that weights can be written to this file.

    Raises:
        ArgumentError: its ending is not .safetensors.
        OutputError: it cannot be written, or the disk has no room for so many bytes.
    """
    if out.suffix != ".safetensors":
        raise ArgumentError(f"weights are written as .safetensors, never pickled; got '{clean(out)}'")
    from fanin.text.files import assert_place

    assert_place(out, num_bytes)


def write_weights(plan: Plan, model: torch.nn.Module, out: Path) -> str:
    """Apply a plan and write the model's weights as safetensors; the file appears only when it is complete.

    Returns:
        What was done, in words.

    Raises:
        ArgumentError: the ending of the file is not .safetensors.
        OutputError: the file cannot be written; the old file is unchanged.
    """
    assert_weights_file(out, num_bytes(model))
    if any(t.device.type == "meta" for t in (*model.parameters(), *model.buffers())):
        plan.materialize(model)
    else:
        plan.apply_(model, progress=True)
    save_weights(model, out, note=f"recipe {plan.recipe}, seed {plan.seed}")
    drawn = sum(a.action == "draw" for a in plan.assignments.values())
    of = counted(len(plan), "parameter")
    return f"{drawn} of {of} drawn (recipe {plan.recipe}, seed {plan.seed}), written to {clean(out)}"


def num_bytes(model: torch.nn.Module) -> int:
    """Bytes of all tensors that are saved, those with several names once."""
    import torch

    held = {id(t): t for t in model.state_dict(keep_vars=True).values() if isinstance(t, torch.Tensor)}
    return sum(t.numel() * t.element_size() for t in held.values())


def save_weights(model: torch.nn.Module, out: Path, *, note: str) -> None:
    """Write a model's state as safetensors; the file appears only when it is complete.

    Raises:
        OutputError: the file cannot be written; the old file is unchanged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    from fanin.text.files import whole_file

    try:
        with whole_file(out) as place:
            save_model(model, str(place), metadata={"fanin": note})
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise OutputError(
            f"'{clean(out)}' cannot be written: {clean(error)}. The old file is unchanged. Look for room on the disk, "
            "and for tensors that safetensors cannot hold."
        ) from error
