"""`plan` and `init_`: from a model and a recipe to a plan, and on into the weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from fanin.errors import ArgumentError, CoverageError, PlanError
from fanin.initializers import Initializer, get
from fanin.model.owners import owners
from fanin.model.parameters import Slot, slots_of
from fanin.model.roles import Seen, fans_or_none
from fanin.model.uninitialised import uninitialised
from fanin.model.wrappers import unwrapped
from fanin.planning.assignment import Assignment
from fanin.planning.overrides import match_all
from fanin.planning.plan import Plan
from fanin.planning.warn import law_warnings, plan_warnings
from fanin.recipes.base import Choice, Chosen, Live
from fanin.recipes.catalogue.keep import kept
from fanin.recipes.table import options_of
from fanin.recipes.table import recipe as recipe_named
from fanin.streams import key as stream_key

if TYPE_CHECKING:
    import torch

__all__ = ["init_", "plan"]

_Override = Initializer | str | None


def plan(
    model: torch.nn.Module,
    inputs: Any = None,
    *,
    recipe: str = "auto",
    seed: int = 0,
    overrides: Mapping[str, _Override] | None = None,
    only_uninitialised: bool = False,
    missing: Sequence[str] = (),
    on_unknown: Literal["raise", "keep"] = "raise",
    **options: Any,
) -> Plan:
    """Choose an initializer for every parameter of a model and say why; nothing in the model changes.

    Args:
        model: any ``torch.nn.Module``; its parameters may be real, fake or on the meta device.
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments for its forward pass; only
            shapes, integer values and the second moment of a float input matter. Where none are given they are made
            up for models that say what they take.
        recipe: a name in ``fanin.recipes.RECIPES``.
        seed: of the streams, 0 <= seed < 2**64.
        overrides: glob on the qualified name -> an initializer, its name, or None to keep the tensor; the first
            match wins.
        only_uninitialised: plan parameters on the meta device, holding NaN, or named in `missing`, and keep all others.
        missing: globs of parameters that count as uninitialised, such as the ``missing_keys`` of ``load_state_dict``.
        on_unknown: "raise" where the recipe cannot place a parameter, or "keep" that parameter as it is.
        options: the recipe's own options.

    Raises:
        CoverageError: the recipe cannot place a parameter; each is named with the reason.
        PlanError: an override or a name in `missing` that matches nothing.
        CaptureError: the forward pass could not be read.

    Example:
        >>> import torch
        >>> print(plan(torch.nn.Linear(4, 2), recipe="torch"))
        plan for Linear  recipe torch   seed 0   parameters 2   numbers 10
        <BLANKLINE>
        parameter   shape   role     initializer     std   why
        ──────────────────────────────────────────────────────
        weight      2×4     weight   Uniform       0.289     1
        bias        2       bias     Uniform       0.289     2
        <BLANKLINE>
           1 torch.nn.Linear starts its weight from U(±1 / sqrt(4))
           2 torch.nn.Linear starts its bias from U(±1 / sqrt(4))
    """
    stream_key(seed, "")  # says what is wrong with a seed before any work is done
    if on_unknown not in ("raise", "keep"):
        raise ArgumentError(f"on_unknown must be 'raise' or 'keep'; got {on_unknown!r}")
    chosen = recipe_named(recipe)
    settings = options_of(chosen, options)
    slots = slots_of(model)
    _refuse_without_parameters(model, slots)
    wanted = match_all(_matched_names(slots), overrides or {})
    live = Live(
        model=model,
        tensors={n: s.effective() for n, s in slots.items() if s.holds_values},
        graph=functools.cache(lambda: _captured(model, inputs)),
    )
    answer = chosen.choose(live, settings)
    fresh = uninitialised(slots, missing) if only_uninitialised or missing else None
    made = _assignments(live, slots, answer, wanted, fresh, on_unknown)
    extras = dict(answer.extras)
    if fresh is not None:
        extras["uninitialised"] = fresh
    whole = Plan(
        recipe=recipe,
        seed=seed,
        model=type(unwrapped(model)).__name__,
        assignments=made,
        options=asdict(settings),
        warnings=answer.warnings,
        extras=extras,
    )
    return replace(whole, warnings=(*answer.warnings, *plan_warnings(whole)))


def init_(
    model: torch.nn.Module,
    inputs: Any = None,
    *,
    recipe: str = "auto",
    seed: int = 0,
    progress: bool = False,
    **arguments: Any,
) -> Plan:
    """Plan a model and write the plan into it: `plan` and `Plan.apply_` in one call.

    Args:
        model: the model; its parameters are overwritten in place.
        inputs: as in `plan`.
        recipe: as in `plan`.
        seed: as in `plan`.
        progress: show a bar on stderr.
        arguments: everything else that `plan` takes.

    Returns:
        The plan that was written.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(784, 10)
        >>> init_(model, recipe="torch").verify(model).ok
        True
    """
    made = plan(model, inputs, recipe=recipe, seed=seed, **arguments)
    made.apply_(model, progress=progress)
    return made


def _refuse_without_parameters(model: Any, slots: Mapping[str, Slot]) -> None:
    from torch.nn.parameter import UninitializedParameter

    lazy = [n for n, s in slots.items() if isinstance(s.tensor, UninitializedParameter)]
    if lazy:
        raise PlanError(f"{lazy[0]!r} has no shape yet (a lazy module). Run the model once on an input, then plan it.")


def _matched_names(slots: Mapping[str, Slot]) -> list[tuple[str, ...]]:
    """The names that patterns are held against: of a part of a parametrized tensor also the tensor's own."""
    return [(*s.names, s.through) if s.through else s.names for s in slots.values() if s.holds_values]


def _captured(model: Any, inputs: Any) -> Any:
    from fanin.graph.recording.capture import capture

    return capture(model, inputs)


def _assignments(
    live: Live,
    slots: Mapping[str, Slot],
    answer: Chosen,
    wanted: Mapping[str, tuple[str, _Override]],
    fresh: Mapping[str, str] | None,
    on_unknown: str,
) -> dict[str, Assignment]:
    seen = {n: o.seen for n, o in owners(live.model, list(slots)).items()} | dict(answer.seen)
    made: dict[str, Assignment] = {}
    unknown: dict[str, str] = {}
    for name, slot in slots.items():
        if not slot.holds_values:
            made[name] = _derived(slot, answer.seen.get(name))
            continue
        choice = answer.choices.get(name)
        if fresh is not None and name not in fresh:
            choice = kept(live.tensors[name], seen[name], because="it holds values already")
        if name in wanted:
            choice = _overridden(wanted[name], live.tensors[name], seen[name])
        if choice is None:
            unknown[name] = answer.unknown.get(name, "the recipe has no rule for it")
            because = f"not understood ({unknown[name]}), so kept"
            choice = replace(kept(live.tensors[name], seen[name], because=because), understood=False)
        made[name] = _assignment(slot, choice, seen[name], tuple(live.tensors[name].shape))
    if unknown and on_unknown == "raise":
        raise CoverageError(_coverage_message(unknown))
    return made


def _coverage_message(unknown: Mapping[str, str]) -> str:
    lines = [f"{name}: {why}" for name, why in list(unknown.items())[:12]]
    more = f"\n  ... and {len(unknown) - 12} more" if len(unknown) > 12 else ""
    return (
        f"{len(unknown)} parameters have no place in this recipe:\n  "
        + "\n  ".join(lines)
        + more
        + "\nGive each a law "
        "(overrides={'pattern': law}), keep them as they are (on_unknown='keep'), or choose another recipe."
    )


def _overridden(wanted: tuple[str, _Override], tensor: Any, seen: Seen) -> Choice:
    pattern, law = wanted
    if law is None:
        return kept(tensor, seen, because=f"override {pattern!r}")
    law = get(law) if isinstance(law, str) else law
    if not isinstance(law, Initializer):
        raise ArgumentError(f"the override {pattern!r} must be an initializer, its name, or None to keep; got {law!r}")
    return Choice(law=law, role=seen.role, layout=seen.layout, rule="override", reason=f"override {pattern!r}")


def _derived(slot: Slot, seen: Seen | None) -> Assignment:
    """A part that is set with the one that holds the values; only the forward pass knows what it does."""
    seen = seen or Seen(role="unknown", source="module")
    fans = fans_or_none(slot.shape, seen.layout)
    return Assignment(
        name=slot.name,
        aliases=slot.aliases,
        role=seen.role,
        role_from=seen.source,
        layout=seen.layout,
        fan_in=fans.fan_in if fans else None,
        fan_out=fans.fan_out if fans else None,
        shape=slot.shape,
        dtype=slot.dtype,
        action="derive",
        through=slot.through,
        rule="derived",
        reason=f"set together with {slot.holder}, so that {slot.through} is what its law says",
    )


def _assignment(slot: Slot, choice: Choice, seen: Seen, shape: tuple[int, ...]) -> Assignment:
    fans = fans_or_none(shape, choice.layout)
    std = None
    if choice.law is not None:
        try:
            std = choice.law.std_for(shape, choice.layout)
        except ValueError as error:
            raise PlanError(f"{slot.name!r}: the law {choice.law} does not fit its shape {shape}: {error}") from error
    elif (measured := next((s.value for s in choice.steps if s.quantity == "std"), None)) is not None:
        std = float(measured) if math.isfinite(float(measured)) else None
    made = Assignment(
        name=slot.name,
        aliases=slot.aliases,
        role=choice.role,
        role_from=seen.source,
        shape=slot.shape,
        dtype=slot.dtype,
        action=choice.action,
        initializer=choice.law,
        layout=choice.layout,
        fan_in=fans.fan_in if fans else None,
        fan_out=fans.fan_out if fans else None,
        std=std,
        through=slot.through,
        rule=choice.rule,
        reason=choice.reason,
        steps=choice.steps,
        warnings=choice.warnings,
        predicted_rms=choice.predicted_rms,
        understood=choice.understood,
    )
    return replace(made, warnings=(*made.warnings, *law_warnings(made, output=seen.output)))
