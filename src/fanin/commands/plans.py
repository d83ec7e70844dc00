"""The logic behind ``fanin plan``, ``init``, ``explain`` and ``diff``: from words to plans and text."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.commands.targets import load_target
from fanin.errors import ArgumentError, OutputError, TargetError, UnknownNameError, did_you_mean
from fanin.planning.build import plan as plan_model
from fanin.planning.diff import PlanDiff
from fanin.planning.plan import Plan
from fanin.text.files import assert_place, whole_file
from fanin.text.names import clean

if TYPE_CHECKING:
    import torch

__all__ = [
    "assert_form",
    "assert_weights_file",
    "difference",
    "explain_name",
    "make_plan",
    "parse_pairs",
    "shown_diff",
    "write_weights",
]


def make_plan(
    target: str,
    input_shape: str | None,
    recipe: str,
    seed: int,
    options: Sequence[str] | None = None,
    overrides: Sequence[str] | None = None,
    meta: bool = False,
    keep_unknown: bool = False,
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
    """
    loaded = load_target(target, input_shape=input_shape, meta=meta)
    laws = {glob: None if law == "keep" else law for glob, law in parse_pairs(overrides or (), "--override").items()}
    made = plan_model(
        loaded.model,
        loaded.inputs,
        recipe=recipe,
        seed=seed,
        overrides=laws,
        on_unknown="keep" if keep_unknown else "raise",
        **{name: _value(text) for name, text in parse_pairs(options or (), "--option").items()},
    )
    return loaded.model, made


def parse_pairs(pairs: Sequence[str], what: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as a dict, split at the last ``=``.

    Raises:
        ArgumentError: a pair without ``=``.

    Example:
        >>> parse_pairs(["head=calm", "memory=100"], "--option")
        {'head': 'calm', 'memory': '100'}
    """
    found = {}
    for pair in pairs:
        name, separator, value = pair.rpartition("=")
        if not separator or not name or not value:
            raise ArgumentError(f"{what} takes NAME=VALUE; got {pair!r}")
        found[name] = value
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except json.JSONDecodeError:
        return text


def assert_form(form: str) -> None:
    """Check, before any work, that plans and differences can be shown in this form.

    Raises:
        ArgumentError: they cannot.
    """
    if form not in ("table", "json"):
        raise ArgumentError(f"--format is table or json; got {form!r}")


def shown_diff(found: PlanDiff, form: str) -> str:
    """Differences as text in the form asked for."""
    return str(found) if form == "table" else json.dumps(found.to_dict(), indent=1, ensure_ascii=False)


def assert_weights_file(out: Path, num_bytes: int = 1) -> None:
    """Check, before any work, that weights can be written to this file.

    Raises:
        ArgumentError: its ending is not .safetensors.
        OutputError: it cannot be written, or the disk has no room for so many bytes.
    """
    if out.suffix != ".safetensors":
        raise ArgumentError(f"weights are written as .safetensors, never pickled; got '{clean(out)}'")
    assert_place(out, num_bytes)


def write_weights(plan: Plan, model: torch.nn.Module, out: Path) -> str:
    """Apply a plan and write the model's weights as safetensors; the file appears only when it is complete.

    Returns:
        What was done, in words.

    Raises:
        ArgumentError: the ending of the file is not .safetensors.
        OutputError: the file cannot be written; what was there stands.
    """
    assert_weights_file(out, _num_bytes(model))
    if any(t.device.type == "meta" for t in (*model.parameters(), *model.buffers())):
        plan.materialize(model)
    else:
        plan.apply_(model, progress=True)
    with whole_file(out) as place:
        _save(model, place, out, note=f"recipe {plan.recipe}, seed {plan.seed}")
    drawn = sum(a.action == "draw" for a in plan.assignments.values())
    return f"{drawn} of {len(plan)} parameters drawn (recipe {plan.recipe}, seed {plan.seed}), written to {clean(out)}"


def _num_bytes(model: torch.nn.Module) -> int:
    """Bytes of all tensors that are saved, those with several names once."""
    import torch

    held = {id(t): t for t in model.state_dict(keep_vars=True).values() if isinstance(t, torch.Tensor)}
    return sum(t.numel() * t.element_size() for t in held.values())


def _save(model: torch.nn.Module, place: Path, out: Path, *, note: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    try:
        save_model(model, str(place), metadata={"fanin": note})
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise OutputError(
            f"'{clean(out)}' cannot be written: {clean(error)}. What was there stands. Look for room on the disk, and "
            "for tensors that safetensors cannot hold."
        ) from error


def difference(left: str, right: str, input_shape: str | None = None) -> PlanDiff:
    """What differs between two plans, or between a plan and a model.

    Args:
        left: a JSON file, or a target that is planned with ``auto``.
        right: a JSON file, or a target whose live weights are held against `left`.
        input_shape: for targets.
    """
    one = Plan.load(left) if _is_file(left) else make_plan(left, input_shape, "auto", 0, keep_unknown=True)[1]
    if _is_file(right):
        return one.diff(Plan.load(right))
    return one.diff(load_target(right, input_shape=input_shape).model)


def _is_file(text: str) -> bool:
    if text.endswith(".json"):
        if not Path(text).is_file():
            raise TargetError(f"no file {text!r} (looked from {Path.cwd()})")
        return True
    return False


def explain_name(name: str) -> str:
    """What a recipe or an initializer is, from its own words.

    Raises:
        UnknownNameError: neither a recipe nor an initializer.
    """
    from fanin.initializers.registry import NAMES
    from fanin.recipes.table import RECIPES

    if name == "recipes":
        width = max(map(len, RECIPES))
        return "\n".join(f"{r.name:<{width}}  {r.summary}" for r in RECIPES.values())
    if name in RECIPES:
        recipe = RECIPES[name]
        words = inspect.getdoc(inspect.getmodule(recipe.choose)) or recipe.summary
        options = inspect.getdoc(recipe.options) or ""
        return f"recipe {name}: {recipe.summary}\n\n{words}\n\nOptions. {options}" + (
            f"\n\nSource: {recipe.source}" if recipe.source else ""
        )
    if name in NAMES:
        return inspect.getdoc(NAMES[name]) or name
    raise UnknownNameError(
        f"{name!r} is no recipe and no initializer; {did_you_mean(name, [*RECIPES, *NAMES])} A parameter is "
        "TARGET::name."
    )
