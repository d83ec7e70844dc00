"""`plan`: from a model and a recipe to a law for every parameter."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from fanin.errors import ArgumentError, CoverageError, FaninWarning, PlanError
from fanin.initializers import FromArray, Initializer, get
from fanin.memory import uncollected
from fanin.model.foreign import as_module, given_or_made_up, stream_names
from fanin.model.parameters import Slot
from fanin.model.reading import read
from fanin.model.roles import Seen, fans_or_none
from fanin.model.standing import Frozen, Missing, standing_of
from fanin.planning.assignment import Assignment
from fanin.planning.overrides import match_all
from fanin.planning.plan import Plan
from fanin.planning.warn import (
    empty_warnings,
    frozen_warnings,
    law_warnings,
    lost_warnings,
    plan_warnings,
    unregistered_warnings,
)
from fanin.recipes.base import Choice, Chosen, Live
from fanin.recipes.catalogue.keep import kept, rows_of_zeros
from fanin.recipes.table import options_of
from fanin.recipes.table import recipe as recipe_named
from fanin.streams import key as stream_key
from fanin.text.numbers import counted
from fanin.text.paths import matches
from fanin.text.reading import shown

if TYPE_CHECKING:
    import torch

__all__ = ["plan", "plan_and_live", "with_overrides"]

_Override = Initializer | str | None


def plan(
    model: torch.nn.Module,
    inputs: Any = None,
    *,
    recipe: str = "auto",
    seed: int = 0,
    overrides: Mapping[str, _Override] | None = None,
    only_uninitialised: bool = False,
    missing: Missing = (),
    frozen: Frozen = "keep",
    on_unknown: Literal["raise", "keep"] = "raise",
    **options: Any,
) -> Plan:
    """Choose an initializer, with its reason, for every parameter of a model; nothing in the model changes.

    Args:
        model: any ``torch.nn.Module``; its parameters may be real, fake or on the meta device.
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments for its forward pass; only
            shapes, integer values and the second moment of a float input matter. Where none are given, inputs
            are made for models whose class or configuration fixes their shape.
        recipe: a name in ``fanin.recipes.RECIPES``.
        seed: of the streams, 0 <= seed < 2**64.
        overrides: glob on the qualified name -> an initializer, its name, or None to keep the tensor; the first
            match wins.
        only_uninitialised: plan parameters on the meta device, holding NaN or infinity, or named in `missing`, and
            keep all others.
        missing: what counts as uninitialised: globs of names, what ``load_state_dict`` returned, or the loading info of
            ``from_pretrained(..., output_loading_info=True)``. With `only_uninitialised` and no list, what transformers
            marked as loaded is kept, and what it did not find is planned.
        frozen: "keep" parameters that are frozen (``requires_grad=False``), that transformers loaded from a checkpoint,
            or that PEFT's adapters build on; "draw" draws them like all others. An override draws one either way.
        on_unknown: "raise" where the recipe cannot place a parameter, or "keep" that parameter as it is.
        options: the recipe's own options.

    Raises:
        CoverageError: the recipe cannot place a parameter, or would keep one that holds NaN or infinity; each is named
            with the reason.
        PlanError: an override or a name in `missing` that matches nothing.
        CaptureError: the forward pass could not be read.

    Example:
        >>> import torch
        >>> print(plan(torch.nn.Linear(4, 2), recipe="torch"))
        plan for Linear  recipe torch   seed 0   parameters 2   numbers 10
        <BLANKLINE>
        parameter  shape  role    initializer    std  why
        ────────────────────────────────────────────────────────────────────────────────────────────────────
        weight     2×4    weight  Uniform      0.289  torch.nn.Linear starts its weight from U(±1 / sqrt(4))
        bias       2      bias    Uniform      0.289  torch.nn.Linear starts its bias from U(±1 / sqrt(4))
    """
    made, _ = plan_and_live(
        model,
        inputs,
        recipe=recipe,
        seed=seed,
        overrides=overrides,
        only_uninitialised=only_uninitialised,
        missing=missing,
        frozen=frozen,
        on_unknown=on_unknown,
        **options,
    )
    return made


def plan_and_live(
    model: torch.nn.Module,
    inputs: Any,
    *,
    recipe: str,
    seed: int,
    overrides: Mapping[str, _Override] | None = None,
    only_uninitialised: bool = False,
    missing: Missing = (),
    frozen: Frozen = "keep",
    on_unknown: Literal["raise", "keep"] = "raise",
    **options: Any,
) -> tuple[Plan, Live]:
    """A plan as `plan` makes it, and the model as it was read for it, with its captured graph."""
    stream_key(seed, "")  # says what is wrong with a seed before any work is done
    if on_unknown not in ("raise", "keep"):
        raise ArgumentError(f"on_unknown must be 'raise' or 'keep'; got {on_unknown!r}")
    chosen = recipe_named(recipe)
    settings = options_of(chosen, options)
    model, inputs = as_module(model, given_or_made_up(model, inputs))
    streams = stream_names(model)
    reading = read(model)
    slots = reading.slots
    _refuse_parts(slots, overrides or {})
    wanted = match_all(_matched_names(slots), overrides or {})
    standing = standing_of(model, slots, frozen=frozen, only_uninitialised=only_uninitialised, missing=missing)
    live = Live(
        reading=reading,
        inputs=inputs,
        kept={n: why for n, why in standing.keep.items() if n not in wanted},
        empty=standing.empty,
    )
    from fanin.model.settings import generators_kept  # needs torch, which a plan alone does not

    # theory samples some operations, which may draw
    with _traces_told(live), generators_kept(), uncollected():
        answer = chosen.choose(live, settings)
        known = replace(live, reading=replace(reading, zero_rows={**answer.zero_rows, **reading.zero_rows}))
        made = _assignments(known, answer, wanted, on_unknown=on_unknown, reads=not chosen.draws)
    made = {name: replace(a, key=streams.get(name, a.key)) for name, a in made.items()}
    traces = _traces(live)
    extras = {**answer.extras, **({"changed": list(traces)} if traces else {})}
    if standing.uninitialised is not None:
        extras["uninitialised"] = standing.uninitialised
    whole = Plan(
        recipe=recipe,
        seed=seed,
        model=reading.class_name,
        assignments=made,
        options=asdict(settings),
        extras=extras,
    )
    first = (*lost_warnings(live.lost_buffers), *(frozen_warnings(whole, standing.frozen) if chosen.draws else ()))
    on_meta = {n for n in standing.empty if slots[n].tensor.device.type == "meta"}
    empty = empty_warnings(whole, standing.empty, on_meta)
    unowned = unregistered_warnings(live.graph.unregistered if "graph" in vars(live) else ())
    return replace(whole, warnings=(*first, *empty, *unowned, *answer.warnings, *plan_warnings(whole), *traces)), live


def with_overrides(made: Plan, live: Live, overrides: Mapping[str, _Override]) -> Plan:
    """The plan that `plan` makes with these overrides of what it draws; no recipe sees them, so it is not asked again.

    Args:
        made: the plan; what was overridden there is overridden here too.
        live: the model as it was read for it.
        overrides: as in `plan`.
    """
    slots = live.reading.slots
    _refuse_parts(slots, overrides)
    assignments = dict(made.assignments)
    for name, wanted in match_all(_matched_names(slots), overrides).items():
        a, shape = made.assignments[name], tuple(live.tensors[name].shape)
        seen = Seen(role=a.role, layout=a.layout, source=a.role_from)
        choice = _overridden(wanted, live.tensors[name], seen, a.zero_rows)
        rows = _zero_rows(live, name, choice)
        assignments[name] = replace(_assignment(slots[name], choice, seen, shape, rows), key=a.key)
    return replace(made, assignments=assignments)


def _traces(live: Live) -> tuple[str, ...]:
    """What the captured forward pass changed for good, in words; a recipe that asks for no graph runs none."""
    return live.graph.traces if "graph" in vars(live) else ()


@contextlib.contextmanager
def _traces_told(live: Live) -> Iterator[None]:
    """Where no plan is made that could name it, warnings say what the forward pass changed for good."""
    try:
        yield
    except BaseException:
        for sentence in _traces(live):
            warnings.warn(sentence, FaninWarning, stacklevel=5)
        raise


def _matched_names(slots: Mapping[str, Slot]) -> list[tuple[str, ...]]:
    """The names that patterns are matched with: of a part of a parametrized tensor also the tensor's own."""
    return [(*s.names, s.through) if s.through else s.names for s in slots.values() if s.holds_values]


def _refuse_parts(slots: Mapping[str, Slot], patterns: Iterable[str]) -> None:
    """Raise for a pattern that matches parts of parametrized tensors alone: a law is for the whole tensor."""
    names = {n for group in _matched_names(slots) for n in group}
    parts = {n: s for s in slots.values() if not s.holds_values for n in s.names}
    for pattern in patterns:
        part = next((n for n in parts if matches(n, pattern)), None)
        if part is None or any(matches(n, pattern) for n in names):
            continue
        slot = parts[part]
        what = f"is set together with {slot.holder}" if slot.is_set_with_holder else "stays as it is"
        raise PlanError(
            f"the pattern {pattern!r} matches only {part!r}, a part of what computes {slot.through}: it {what}. Give "
            f"the law to the whole tensor: overrides={{{slot.through!r}: law}}."
        )


def _assignments(
    live: Live,
    answer: Chosen,
    wanted: Mapping[str, tuple[str, _Override]],
    *,
    on_unknown: str,
    reads: bool,
) -> dict[str, Assignment]:
    seen = {name: owned.seen for name, owned in live.reading.owners.items()} | dict(answer.seen)
    made: dict[str, Assignment] = {}
    unknown: dict[str, str] = {}
    for name, slot in live.reading.slots.items():
        if not slot.holds_values:
            made[name] = _derived(slot, answer.seen.get(name))
            if made[name].action == "keep" and name in live.empty and not reads:
                unknown[name] = f"it belongs to what computes {slot.through} and {live.empty[name]}"
            continue
        choice = _chosen(live, name, seen[name], answer, wanted.get(name), reads)
        if choice is None:
            unknown[name] = answer.unknown.get(name, "the recipe has no rule for it")
            choice = _not_understood(live, name, seen[name], unknown[name])
        rows = _zero_rows(live, name, choice)
        made[name] = _assignment(slot, choice, seen[name], tuple(live.tensors[name].shape), rows)
    if unknown and on_unknown == "raise":
        raise CoverageError(_coverage_message(unknown))
    return made


def _chosen(
    live: Live, name: str, seen: Seen, answer: Chosen, wanted: tuple[str, _Override] | None, reads: bool
) -> Choice | None:
    """What is done with one parameter: the override, else why it stays, else what the recipe says."""
    rows = live.zero_rows.get(name, ())
    if wanted is not None:
        return _overridden(wanted, live.tensors[name], seen, rows)
    choice = answer.choices.get(name)
    if name in live.kept and not reads:
        stays = kept(live.tensors[name], seen, because=live.kept[name], zero_rows=rows)
        if choice is None:
            return stays
        return replace(stays, predicted_rms=choice.predicted_rms, predicted_se=choice.predicted_se)
    return choice


def _not_understood(live: Live, name: str, seen: Seen, why: str) -> Choice:
    rows = live.zero_rows.get(name, ())
    choice = kept(live.tensors[name], seen, because=f"not understood ({why}), so kept", zero_rows=rows)
    return replace(choice, understood=False)


def _zero_rows(live: Live, name: str, choice: Choice) -> tuple[int, ...]:
    """The padding rows of a table; of one that is kept, those that are zero now."""
    rows = live.zero_rows.get(name, ())
    if choice.action == "draw":
        return () if isinstance(choice.law, FromArray) else rows
    return rows_of_zeros(live.tensors[name], rows)


def _coverage_message(unknown: Mapping[str, str]) -> str:
    lines = [f"{name}: {why}" for name, why in list(unknown.items())[:12]]
    more = f"\n  ... and {len(unknown) - 12} more" if len(unknown) > 12 else ""
    count = counted(len(unknown), "parameter has", "parameters have")
    return (
        f"{count} no place in this recipe:\n  "
        + "\n  ".join(lines)
        + more
        + f"\nGive each a law (overrides={{{next(iter(unknown))!r}: law}}; a name may be a pattern), keep them as they "
        "are (on_unknown='keep'), or choose another recipe."
    )


def _overridden(wanted: tuple[str, _Override], tensor: Any, seen: Seen, rows: tuple[int, ...]) -> Choice:
    pattern, law = wanted
    if law is None:
        return kept(tensor, seen, because=f"override {pattern!r}", zero_rows=rows)
    law = get(law) if isinstance(law, str) else law
    if not isinstance(law, Initializer):
        raise ArgumentError(
            f"the override {pattern!r} must be an initializer, its name, or None to keep; got {shown(law)}"
        )
    return Choice(law=law, role=seen.role, layout=seen.layout, rule="override", reason=f"override {pattern!r}")


def _with_padding(choice: Choice, rows: tuple[int, ...]) -> str:
    if not rows or choice.action == "keep":
        return choice.reason
    which = f"row {rows[0]} is" if len(rows) == 1 else f"rows {', '.join(map(str, rows))} are"
    return f"{choice.reason}; {which} zero (padding)"


def _derived(slot: Slot, seen: Seen | None) -> Assignment:
    """A part beside the one that holds the values: set together with it, or left as it is.

    Only the forward pass knows what it does.
    """
    seen = seen or Seen(role="unknown", source="module")
    fans = fans_or_none(slot.shape, seen.layout)
    derived = slot.is_set_with_holder
    together = f"set together with {slot.holder}, so that {slot.through} follows its law"
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
        action="derive" if derived else "keep",
        through=slot.through if derived else "",
        rule="derived" if derived else "kept",
        reason=together if derived else f"stays as it is: it belongs to what computes {slot.through}",
    )


def _assignment(slot: Slot, choice: Choice, seen: Seen, shape: tuple[int, ...], rows: tuple[int, ...]) -> Assignment:
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
        reason=_with_padding(choice, rows),
        zero_rows=rows,
        steps=choice.steps,
        warnings=choice.warnings,
        predicted_rms=choice.predicted_rms,
        predicted_se=choice.predicted_se,
        understood=choice.understood,
    )
    exact = slot.behind is None or slot.behind.exact
    return replace(made, warnings=(*made.warnings, *law_warnings(made, output=seen.output, exact=exact)))
