"""Warnings about a plan.

Units that start identical, truncation bounds that never apply, laws that a parametrization rescales, parameters that
no rule could place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fanin.initializers import TruncatedNormal
from fanin.model.unregistered import Unregistered
from fanin.planning.assignment import Assignment
from fanin.text.numbers import counted

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = [
    "empty_warnings",
    "frozen_warnings",
    "law_warnings",
    "lost_warnings",
    "plan_warnings",
    "unregistered_warnings",
]

_NO_CUT = 6.3  # parent standard deviations; the streams reach 6.338, so wider bounds never apply


def law_warnings(a: Assignment, *, output: bool = False, exact: bool = True) -> tuple[str, ...]:
    """What is wrong with one parameter's law, in words.

    Args:
        a: the parameter with its law.
        output: it makes the outputs of the network, whose units get different gradients whatever they start as.
        exact: the network uses the very values that the law draws; False where a parametrization may change them.
    """
    symmetric = () if output else tuple(_symmetric(a))
    return (*symmetric, *_never_truncates(a), *(() if exact else _rescaled(a)))


def plan_warnings(plan: PlanData) -> tuple[str, ...]:
    """Warnings about the model as a whole."""
    return tuple(_kept_unknown(plan))


def frozen_warnings(plan: PlanData, frozen: Sequence[str]) -> tuple[str, ...]:
    """One sentence that counts what is kept because it is frozen or loaded.

    Args:
        plan: the plan.
        frozen: first names of frozen and loaded parameters.
    """
    kept = [plan[n] for n in frozen if plan[n].action == "keep"]
    if not kept:
        return ()
    numbers = sum(a.numel for a in kept)
    return (
        f"frozen or loaded, so kept as it is: {len(kept)} of {len(plan)} parameters, {numbers:,} numbers "
        f"({_names([a.name for a in kept])}); frozen='draw' draws them, an override draws one",
    )


def lost_warnings(buffers: Mapping[str, str]) -> tuple[str, ...]:
    """Buffers that hold no usable numbers, with the cure.

    Args:
        buffers: qualified name -> what is wrong.
    """
    return tuple(
        f"the buffer {name} {why}: everything computed from it is lost, and no prediction of this plan holds there. "
        "Compute it again: build its module on the CPU, or give its values with "
        f"plan.materialize(model, buffers={{{name!r}: tensor}})"
        for name, why in buffers.items()
    )


def unregistered_warnings(found: Sequence[Unregistered]) -> tuple[str, ...]:
    """Weights that the forward reads and no plan can start, with the cure."""
    return tuple(
        f"forward reads weights that the model does not own ({u.words}): no plan starts them and no optimizer of "
        f"model.parameters() trains them; register them ({u.cure})"
        for u in found
    )


def empty_warnings(plan: PlanData, empty: Iterable[str], on_meta: Collection[str]) -> tuple[str, ...]:
    """What is done about parameters that hold nothing: NaN, infinity, or no memory.

    Args:
        plan: the plan.
        empty: first names of those that hold nothing.
        on_meta: those of them that are on the meta device, which `Plan.materialize` fills.
    """
    at_stake = [plan[n] for n in empty if n in plan.assignments]
    filled = [a.name for a in at_stake if a.rule == "refilled"]
    left = [a.name for a in at_stake if a.action == "keep" and a.name not in on_meta]
    said = []
    if filled:
        said.append(f"nothing was there to keep in {_names(filled)}: shifts start at zero and scales at one instead")
    if left:
        said.append(f"kept with NaN or infinity in it: {_names(left)}; an override gives each a law")
    return tuple(said)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _symmetric(a: Assignment) -> Iterator[str]:
    if a.action != "draw" or a.initializer is None or a.initializer.breaks_symmetry:
        return
    hidden = a.fan_in is not None and a.fan_out is not None and a.fan_out > 1 and a.role != "embedding"
    value = a.initializer.moments(a.shape, a.layout).mean
    if hidden and value != 0.0 and a.layout is not None and not a.layout.lookup:
        yield (
            f"every unit of this map starts identical ({a.initializer}), and identical units stay identical under "
            "training; choose a random initializer"
        )


def _never_truncates(a: Assignment) -> Iterator[str]:
    law = a.initializer
    if not isinstance(law, TruncatedNormal) or a.action != "draw":
        return
    low, high = law.window()
    if min(-low, high) > _NO_CUT:
        yield (
            f"the truncation bounds are {min(-low, high):.3g} standard deviations away and never apply; bounds='std' "
            "counts them in standard deviations (torch's trunc_normal_ does not)"
        )


def _rescaled(a: Assignment) -> Iterator[str]:
    if a.action == "draw":
        yield (
            f"a parametrization computes {a.through} from these values and may rescale them (spectral norm divides by "
            "the largest singular value), so the network can see another std than that of this initializer"
        )


def _kept_unknown(plan: PlanData) -> Iterator[str]:
    names = [a.name for a in plan.assignments.values() if not a.understood]
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        count = counted(len(names), "parameter is", "parameters are")
        yield f"{count} not understood and kept unchanged: {shown}"
