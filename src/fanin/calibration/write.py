"""From factors to a plan that holds them, and to the writes that put them into the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fanin.calibration.center import Centred
from fanin.calibration.forward import Key
from fanin.calibration.rounds import Judgement
from fanin.calibration.subject import Subject
from fanin.model.roles import Seen
from fanin.planning.apply import Write, bytes_here, kept_numbers, scale_, wide_like, write_
from fanin.planning.assignment import Assignment, PartFactor
from fanin.planning.plan import Plan
from fanin.planning.undo import Copied, Multiplied, Scratch, packed
from fanin.recipes.catalogue.keep import kept
from fanin.recipes.step import Step
from fanin.text.numbers import big

if TYPE_CHECKING:
    import torch

    from fanin.model.parametrized import Parametrized

__all__ = ["calibrated_plan", "own_values", "plan_with_biases", "with_law", "writes_of_biases", "writes_of_factors"]


def own_values(a: Assignment) -> Assignment:
    """The assignment of a parameter that keeps values of its own, whatever their law is."""
    return replace(
        a,
        action="keep",
        initializer=None,
        std=None,
        rule="kept",
        reason="the model's own values",
        steps=(),
        warnings=(),
        factor=1.0,
        part_factors=(),
    )


def with_law(a: Assignment, values: torch.Tensor) -> Assignment:
    """The assignment of a parameter that keeps its values, with the law that they follow before its factors.

    Args:
        a: as `own_values` and `calibrated_plan` made it.
        values: without the factors.
    """
    read = kept(values, Seen(role=a.role, layout=a.layout, source=a.role_from), because=a.reason)
    std = next((float(s.value) for s in read.steps if s.quantity == "std"), None)
    known = None if std is None or not math.isfinite(std) else std * a.scale
    return replace(a, initializer=read.law, std=known, reason=read.reason, steps=(*read.steps, *a.steps))


def calibrated_plan(plan: Plan, found: Sequence[Judgement]) -> Plan:
    """The plan with the factor of every weight in it.

    Args:
        plan: a plan whose laws, drawn or read off, are what the model holds.
        found: what was decided on each use.
    """
    by_name: dict[str, list[Judgement]] = {}
    for one in found:
        if one.verdict.factor != 1.0:
            by_name.setdefault(one.use_of, []).append(one)
    return replace(
        plan, assignments={n: _scaled(a, by_name[n]) if n in by_name else a for n, a in plan.assignments.items()}
    )


def _scaled(a: Assignment, found: Sequence[Judgement]) -> Assignment:
    first = {j.key: j for j in reversed(found)}
    whole = a.factor
    parts = {p.box: p for p in a.part_factors}
    for (_, box), one in sorted(first.items()):
        if not box:
            whole *= one.verdict.factor
        else:
            before = parts[box].factor if box in parts else 1.0
            parts[box] = PartFactor(name=one.part, box=box, factor=before * one.verdict.factor)
    made = replace(a, factor=whole, part_factors=tuple(parts[b] for b in sorted(parts)))
    std = None if a.std is None else a.std / a.scale * made.scale
    steps = (*a.steps, *(_step(first[key]) for key in sorted(first)))
    return replace(made, std=std, steps=steps)


def _step(one: Judgement) -> Step:
    part = f" of {one.part}" if one.part else ""
    samples = f" on {one.size.samples} samples" if one.size.samples > 1 else ""
    formula = f"times this: measured {big(one.size.value, 4)}{samples}, target {big(one.target.rms, 4)} (calibrated)"
    return Step(quantity=f"factor{part}", value=one.verdict.factor, formula=formula)


def writes_of_factors(plan: Plan, subjects: Mapping[str, Subject], factors: Mapping[Key, float]) -> list[Write]:
    """The writes that multiply the weights of a model; what a plan draws is drawn again, times its factors.

    Args:
        plan: the calibrated plan.
        subjects: the weights.
        factors: what each part of them is multiplied by.
    """
    names = dict.fromkeys(name for (name, _), factor in factors.items() if factor != 1.0)
    writes, scratch = [], Scratch()
    for name in names:
        a, slot = plan[name], subjects[name].slot
        if a.action == "draw":
            writes.append(write_(plan, slot, a))
            continue
        own = {box: f for (n, box), f in factors.items() if n == name and f != 1.0}
        change = _only(a, own)
        if slot.behind is None:
            writes.append(_write_of_factor(a, slot.tensor, change, scratch))
        else:
            writes.append(_through(slot.behind, a, change))
    return writes


def _write_of_factor(a: Assignment, tensor: torch.Tensor, change: Assignment, scratch: Scratch) -> Write:
    """A multiplication of a plain tensor; what is kept for the case that a later write fails is small."""
    own = tensor.detach()
    if not change.part_factors and Multiplied.fits(own):
        done = Multiplied(own, change.factor, lambda piece: scale_(piece, change), scratch)
        return Write(assignment=a, keep=lambda: done, run=done.run, num_bytes=bytes_here(tensor) // 4)
    return Write(
        assignment=a,
        keep=lambda: Copied(own, own.clone()),
        run=_multiplied(tensor, change),
        num_bytes=bytes_here(tensor),
        pack=None if change.part_factors else lambda copy: packed(copy, change.factor),
    )


def _only(a: Assignment, factors: Mapping[tuple[tuple[int, int], ...], float]) -> Assignment:
    """The assignment with these factors and no older ones."""
    parts = tuple(PartFactor(box=box, factor=f) for box, f in factors.items() if box)
    return replace(a, factor=factors.get((), 1.0), part_factors=parts)


def _multiplied(tensor: torch.Tensor, change: Assignment) -> Callable[[], None]:
    """What multiplies a tensor in float32 or wider, and rounds once."""

    def run() -> None:
        own = tensor.detach()
        wide = wide_like(own)
        if wide is not own:
            wide.copy_(own)
        scale_(wide, change)
        if wide is not own:
            own.copy_(wide)

    return run


def _through(behind: Parametrized, a: Assignment, change: Assignment) -> Write:
    """A factor on a tensor that is computed: on the part that scales it, else written through the parametrization."""
    name = behind.scaling_part() if not change.part_factors else None

    def run() -> None:
        if name is not None:
            behind.change_part(name, lambda part: _multiplied(part, change)())
            return
        value = behind.value()
        _multiplied(value, change)()
        behind.write(value)

    return Write(assignment=a, keep=lambda: behind.keep().put_back, run=run, num_bytes=bytes_here(*behind.tensors()))


def plan_with_biases(plan: Plan, found: Mapping[str, Centred]) -> Plan:
    """The plan in which these biases are values of the model's own, for no law gives the means of a batch."""
    changed = {
        n: replace(own_values(plan[n]), reason=f"minus the mean of each channel, measured on {c.samples} rows")
        for n, c in found.items()
    }
    return replace(plan, assignments={n: changed.get(n, a) for n, a in plan.assignments.items()})


def writes_of_biases(plan: Plan, subjects: Mapping[str, Subject], found: Mapping[str, Centred]) -> list[Write]:
    """The writes that set the biases."""
    biases = {n: subjects[n].slot.tensor for n in found}
    return [_write(plan[n], biases[n], _set(biases[n], c.values)) for n, c in found.items()]


def _write(a: Assignment, tensor: torch.Tensor, run: Callable[[], None]) -> Write:
    """A change of a plain tensor, whose numbers are kept for the case that a later one fails."""
    return Write(assignment=a, keep=kept_numbers(tensor), run=run, num_bytes=bytes_here(tensor))


def _set(tensor: torch.Tensor, values: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        tensor.detach().copy_(values.reshape(tensor.shape))

    return run
