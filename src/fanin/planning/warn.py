"""What a plan should say aloud about its laws: symmetric units, cuts that cut nothing, laws that are undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fanin.initializers import TruncatedNormal
from fanin.planning.assignment import Assignment

if TYPE_CHECKING:
    from fanin.planning.data import PlanData

__all__ = ["law_warnings", "plan_warnings"]

_NO_CUT = 6.3  # parent standard deviations; the streams reach 6.338, so a window beyond this cuts nothing


def law_warnings(a: Assignment, *, output: bool = False) -> tuple[str, ...]:
    """What is wrong with one parameter's law, in words.

    Args:
        a: the parameter with its law.
        output: it makes the outputs of the network, whose units get different gradients whatever they start as.
    """
    symmetric = () if output else tuple(_symmetric(a))
    return (*symmetric, *_uncut(a), *_undone(a))


def plan_warnings(plan: PlanData) -> tuple[str, ...]:
    """What concerns the model as a whole."""
    return tuple(_kept_unknown(plan))


def _symmetric(a: Assignment) -> Iterator[str]:
    if a.action != "draw" or a.initializer is None or a.initializer.breaks_symmetry:
        return
    hidden = a.fan_in is not None and a.fan_out is not None and a.fan_out > 1 and a.role != "embedding"
    value = a.initializer.moments(a.shape, a.layout).mean
    if hidden and value != 0.0 and a.layout is not None and not a.layout.lookup:
        yield (
            f"every unit of this map starts identical ({a.initializer}), and identical units stay identical under "
            "training; draw it from a random law"
        )


def _uncut(a: Assignment) -> Iterator[str]:
    law = a.initializer
    if not isinstance(law, TruncatedNormal) or a.action != "draw":
        return
    low, high = law.window()
    if min(-low, high) > _NO_CUT:
        yield (
            f"the bounds lie {min(-low, high):.3g} standard deviations out and cut nothing; bounds='std' counts in "
            "standard deviations (torch's trunc_normal_ has this trap)"
        )


def _undone(a: Assignment) -> Iterator[str]:
    if not a.through or a.action != "draw":
        return
    if a.through and a.name.endswith((".original", "_orig")):
        yield (
            f"{a.through} is computed from these values by a parametrization that may rescale them (spectral norm "
            "divides by the largest singular value): it sets the std that the network sees, not this law"
        )


def _kept_unknown(plan: PlanData) -> Iterator[str]:
    names = [a.name for a in plan.assignments.values() if not a.understood]
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        yield f"{len(names)} parameters are not understood and stay as they are: {shown}"
