"""How much larger each parameter of a model is than the same parameter of a base model, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fanin.errors import ArgumentError
from fanin.layout import Layout
from fanin.model.foreign import as_module, is_view, stream_names
from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.planning.names import renamed_by_stream
from fanin.text.names import clean
from fanin.text.numbers import sizes
from fanin.text.paths import indices, template
from fanin.theory.transfer import Growth

if TYPE_CHECKING:
    import torch

__all__ = ["MAP_ROLES", "Base", "base_of", "growth_of"]

MAP_ROLES = ("weight", "rnn_ih", "rnn_hh")


class Base:
    """The shapes of a base model by name, also for blocks that it does not have because it is shallower."""

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], groups: Mapping[str, int], what: str, names: frozenset[str]
    ) -> None:
        self._same_names = names == frozenset(shapes)
        self._shapes = dict(shapes)
        self._groups = dict(groups)
        self._what = what
        here, there = _families(names), _families(shapes)
        self._free = {kind: _differing(here.get(kind, []), found) for kind, found in there.items()}
        self._by_fixed: dict[tuple[Any, tuple[int, ...]], list[str]] = {}
        for name in self._shapes:
            self._by_fixed.setdefault((template(name), self._fixed(name)), []).append(name)

    def name_for(self, a: Assignment) -> str:
        """The name of the parameter of the base that a parameter is compared with.

        Raises:
            ArgumentError: the base has no such parameter, or layers of different shapes that could be meant.
        """
        found = next((n for n in a.names if n in self._shapes), None)
        if found is not None and self._same_names:
            return found
        alike = [n for name in a.names for n in self._alike(name)]
        shapes = {self._shapes[n] for n in alike}
        if len(shapes) == 1:
            return found if found is not None else alike[0]
        why = f"names like it have {len(shapes)} different shapes there" if shapes else "no parameter of that name"
        raise ArgumentError(
            f"{clean(a.name)} cannot be compared with the base model ({self._what}), which has other parameters than "
            f"this model: {why}. Build the base with the same code and depth at a smaller width; depth_base says how "
            "deep the tuned model was."
        )

    def _alike(self, name: str) -> list[str]:
        """Names of the base that differ in indices alone, and in those alone of which the two models have others."""
        return self._by_fixed.get((template(name), self._fixed(name)), [])

    def _fixed(self, name: str) -> tuple[int, ...]:
        """The indices of a name of which both models have the same ones."""
        free = self._free.get(template(name), frozenset())
        return tuple(index for i, index in enumerate(_indices(name)) if i not in free)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter of the base."""
        return self._shapes[name]

    def groups(self, name: str, default: int) -> int:
        """Groups of a convolution of the base; the default where its module does not tell."""
        return self._groups.get(name, default)


def base_of(base: torch.nn.Module | PlanData, plan: PlanData) -> Base:
    """The shapes of a base model, which may be on the meta device, or of a plan for it.

    Args:
        base: the model or the plan.
        plan: of the wide model. Where the two have other names, a name is only trusted where all like it have one
            shape at the base: in a deeper ``nn.Sequential`` the same index is another layer.

    Raises:
        ArgumentError: neither a module nor a plan.
    """
    own = frozenset(n for a in plan.assignments.values() for n in a.names)
    if isinstance(base, PlanData):
        base = renamed_by_stream(base, {a.key: a.name for a in plan.assignments.values()})
        named = {n: a for a in base.assignments.values() for n in a.names}
        groups = {n: a.layout.groups for n, a in named.items() if a.layout is not None}
        return Base({n: a.shape for n, a in named.items()}, groups, f"a plan for {clean(base.model)}", own)
    if not hasattr(base, "named_parameters"):
        raise ArgumentError(
            f"base is a model of the base width, on the meta device if you like, or a plan for it; got "
            f"{type(base).__name__}. Write base=build(64)."
        )
    from fanin.model.owners import owners
    from fanin.model.parameters import renamed, slots_of

    base = as_module(base).module
    slots = slots_of(base)
    if is_view(base):
        streams, by_stream = stream_names(base), {a.key: a.name for a in plan.assignments.values()}
        slots = renamed(slots, {name: by_stream.get(streams.get(name, name), name) for name in slots})
    owned = owners(base, slots)
    shapes = {n: s.shape for s in slots.values() for n in s.names}
    layouts = {n: owned[s.name].layout for s in slots.values() for n in s.names}
    groups = {n: layout.groups for n, layout in layouts.items() if layout is not None and layout.groups > 1}
    return Base(shapes, groups, type(base).__name__, own)


def growth_of(a: Assignment, base: Base, *, is_output: bool, both_ways: bool = False) -> Growth | str:
    """The growth of one parameter, or why it cannot be told, in words.

    Args:
        a: the parameter in the plan of the wide model.
        base: the shapes of the base model.
        is_output: whether the parameter gives the outputs of the network.
        both_ways: whether it is a matrix that is applied as its transpose, too. It takes the smaller rate of the two.

    Raises:
        ArgumentError: the base has no such parameter.
    """
    name = base.name_for(a)
    shape = base.shape(name)
    if a.shape == shape:
        return Growth()
    if len(a.shape) != len(shape):
        return f"it has {len(a.shape)} axes, {len(shape)} at the base ({sizes(a.shape)} against {sizes(shape)})"
    layout = a.layout
    if layout is not None and layout.lookup and layout.rank == len(shape):
        return _table(a, shape, layout, tied=is_output)
    if a.role in MAP_ROLES or (layout is not None and layout.in_axes and a.role != "unknown"):
        if layout is None or not layout.in_axes or layout.view or layout.rank != len(shape):
            return "which of its axes are summed is not known"
        found = _map(a, shape, layout, base.groups(name, layout.groups))
        ends = sorted((found.inputs, found.outputs))
        return Growth(inputs=ends[1], outputs=ends[0]) if both_ways else found
    if a.role == "unknown" and len(shape) > 1:
        return "which of its axes are summed is not known"
    return Growth(outputs=_ratio(a.shape, shape, range(len(shape))))


def _families(names: Iterable[str]) -> dict[tuple[str | None, ...], list[str]]:
    """The names by what is left of them without their indices."""
    found: dict[tuple[str | None, ...], list[str]] = {}
    for name in names:
        found.setdefault(template(name), []).append(name)
    return found


def _differing(here: Sequence[str], there: Sequence[str]) -> frozenset[int]:
    """Which index of the names takes other values in one list than in the other."""
    columns = [zip(*map(_indices, names), strict=True) for names in (here, there)]
    return frozenset(i for i, (a, b) in enumerate(zip(*columns, strict=False)) if set(a) != set(b))


def _indices(name: str) -> tuple[int, ...]:
    return tuple(index for _, index in indices(name))


def _map(a: Assignment, shape: tuple[int, ...], layout: Layout, base_groups: int) -> Growth:
    inputs = _ratio(a.shape, shape, (*layout.in_axes, *layout.tap_axes))
    outputs = _ratio(a.shape, shape, layout.out_axes)
    groups = layout.groups / base_groups
    if layout.groups_on == "in":  # the input axis spans all groups, the output axis one
        return Growth(inputs=inputs / groups, outputs=outputs * groups)
    return Growth(inputs=inputs, outputs=outputs)


def _table(a: Assignment, shape: tuple[int, ...], layout: Layout, *, tied: bool) -> Growth:
    """Rows are read, not summed; the output layer that shares the table sums over what a row holds."""
    wide = _ratio(a.shape, shape, layout.out_axes)
    return Growth(inputs=wide) if tied else Growth(outputs=wide)


def _ratio(shape: Sequence[int], base: Sequence[int], axes: Iterable[int]) -> float:
    axes = tuple(axes)
    wide, narrow = (math.prod(s[x] for x in axes) for s in (shape, base))
    return wide / narrow if narrow and wide else 1.0
