"""``fanin plan``: choose an initializer for every parameter of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    TableFormat,
    Target,
    TrialOption,
)
from fanin.commands.progress import working
from fanin.commands.stats import shown
from fanin.errors import ArgumentError
from fanin.timing import part

if TYPE_CHECKING:
    import torch

    from fanin.planning.plan import Plan

__all__ = ["parse_pairs", "plan", "planned"]


def plan(
    target: Target,
    input_shape: InputShape = None,
    recipe: Recipe = "auto",
    seed: Seed = 0,
    option: RecipeOption = None,
    override: Override = None,
    meta: Meta = False,
    keep_unknown: KeepUnknown = False,
    frozen: Frozen = "keep",
    trial: TrialOption = True,
    out: Annotated[Path | None, typer.Option(help="Also write the plan to this file, as JSON.")] = None,
    tree: Annotated[bool, typer.Option("--tree", help="Print totals per module in place of parameters.")] = False,
    form: TableFormat = "table",
    stats: Stats = False,
) -> None:
    """Print an initializer and a reason for every parameter."""
    from fanin.planning.view import PlanView
    from fanin.text.console import standard_console
    from fanin.text.files import assert_place

    if tree and form != "table":
        raise ArgumentError(f"--tree is a table, and --format {form} prints the plan as data; give one of the two")
    if out is not None:
        assert_place(out)
    with shown(stats):
        _, made = planned(
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
        )
        with part("print"):
            if out is not None:
                made.save(out)
            if form == "table":
                standard_console().print(PlanView(made, tree=tree))
            else:
                typer.echo(made.to_json(), nl=False)


def planned(
    target: str,
    *,
    input_shape: str | None = None,
    recipe: str = "auto",
    seed: int = 0,
    options: Sequence[str] = (),
    overrides: Sequence[str] = (),
    meta: bool = False,
    keep_unknown: bool = False,
    frozen: Literal["keep", "draw"] = "keep",
    trial: bool = True,
    strict: bool = False,
    look: Callable[[torch.nn.Module], None] | None = None,
) -> tuple[torch.nn.Module, Plan]:
    """The model of a target and its plan.

    Args:
        target: "file.py:callable" or "package.module:callable".
        input_shape: "8,3,224,224", or None for the target's own inputs.
        recipe: name of the recipe.
        seed: of the streams.
        options: "name=value" pairs for the recipe.
        overrides: "glob=law" pairs, the law by name; "keep" keeps the tensor.
        meta: build the model on the meta device.
        keep_unknown: keep parameters that the recipe cannot place.
        frozen: "keep" what is frozen or loaded, or "draw" it.
        trial: measure the plan beside what the model holds, where the target gives inputs.
        strict: raise where the plan is worse than what the model holds, and cannot be repaired.
        look: called with the model before it is planned; it raises where there is no use in a plan.
    """
    from fanin.commands.targets import load_target
    from fanin.planning.initialise import tried_plan

    laws = {glob: None if law == "keep" else law for glob, law in parse_pairs(overrides, "--override").items()}
    given = _values(parse_pairs(options, "--option"))
    with working(f"planning {target}"):
        loaded = load_target(target, input_shape=input_shape, meta=meta, seed=seed)
        if look is not None:
            look(loaded.model)
        made = tried_plan(
            loaded.model,
            loaded.inputs,
            targets=loaded.targets,
            loss=loaded.loss,
            trial=trial,
            strict=strict,
            recipe=recipe,
            seed=seed,
            overrides=laws,
            on_unknown="keep" if keep_unknown else "raise",
            frozen=frozen,
            **given,
        )
    return loaded.model, made


def parse_pairs(pairs: Sequence[str], what: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a dict, split at the first ``=``.

    Raises:
        ArgumentError: a pair without ``=``.

    Example:
        >>> parse_pairs(["head=calm", "memory=100"], "--option")
        {'head': 'calm', 'memory': '100'}
    """
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name or not value:
            raise ArgumentError(f"{what} takes NAME=VALUE; got {pair!r}")
        found[name] = value
    return found


def _values(pairs: Mapping[str, str]) -> dict[str, Any]:
    return {name: _value(text) for name, text in pairs.items()}


def _value(text: str) -> Any:
    """Numbers, booleans, null and lists as JSON writes them; all else is text."""
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return text
