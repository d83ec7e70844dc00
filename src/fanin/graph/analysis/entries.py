"""Where each entry of a parameter ends up in the weight that an operation uses, whatever views lie between.

The numbers 0, 1, 2, ... are put in place of the parameter's entries and sent through the same views. In the weight,
a number then grows by a fixed step along each axis, and these steps say which axis of the weight lies where in the
parameter. No name of a view has to be known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.contraction import Axis, layout_of
from fanin.graph.analysis.units import pass_through
from fanin.graph.ir import Parameter
from fanin.layout import Layout

__all__ = ["entry_layout", "entry_pieces"]

_MOST = 1 << 24  # entries that are numbered


@dataclass(frozen=True, slots=True)
class _Stretch:
    """One axis of the weight as it lies in the parameter: entries between neighbours, how many, what it means."""

    step: int
    size: int
    meaning: Axis
    stride: int = 1


def entry_layout(analysis: Analysis, seen: Sequence[Sighting], p: Parameter) -> Layout | None:
    """The layout of a parameter by its entries; None where its uses do not fill it in even steps.

    A parameter of which every use takes another piece, all of one shape, holds independent maps.
    """
    if not 0 < math.prod(p.shape) <= _MOST or any(s.use.lookup for s in seen):
        return None
    found = [_stretches(analysis, s, p) for s in seen]
    known = [f for f in found if f is not None]
    if len(known) < len(found) or any(one != known[0][1] for _, one in known):
        return None
    offsets = sorted({offset for offset, _ in known})
    steps = {b - a for a, b in pairwise(offsets)}
    if len(steps) > 1:
        return None
    pieces = (_Stretch(steps.pop(), len(offsets), "batch"),) if steps else ()
    ordered = sorted((*known[0][1], *pieces), key=lambda s: -s.step)
    if offsets[0] or not _fills(ordered, math.prod(p.shape)):
        return None
    return _layout(seen[0], p.shape, ordered)


@dataclass(frozen=True, slots=True)
class FoundPiece:
    """A weight inside a flat parameter: its first entry, its entries, which sighting uses it, and its axes."""

    start: int
    size: int
    sighting: int
    layout: Layout


def entry_pieces(analysis: Analysis, seen: Sequence[Sighting], p: Parameter) -> tuple[FoundPiece, ...]:
    """The weights that a flat parameter holds, one after the other.

    Empty where the weights overlap, or do not lie in one stretch each.
    """
    if len(p.shape) != 1 or not 0 < p.numel <= _MOST:
        return ()
    found: dict[int, FoundPiece] = {}
    for index, s in enumerate(seen):
        one = None if s.use.lookup else _piece(analysis, s, p, index)
        if one is None or found.setdefault(one.start, one).size != one.size:
            return ()
    pieces = tuple(found[start] for start in sorted(found))
    apart = all(a.start + a.size <= b.start for a, b in pairwise(pieces))
    return pieces if apart else ()


def _piece(analysis: Analysis, s: Sighting, p: Parameter, index: int) -> FoundPiece | None:
    found = _stretches(analysis, s, p)
    count = math.prod(analysis.graph.values[s.use.weight].shape)
    ordered = [] if found is None else sorted(found[1], key=lambda x: -x.step)
    if found is None or not _fills(ordered, count):
        return None
    layout = _layout(s, (count,), ordered)
    return None if layout is None else FoundPiece(found[0], count, index, layout)


def _stretches(analysis: Analysis, s: Sighting, p: Parameter) -> tuple[int, tuple[_Stretch, ...]] | None:
    """The first entry that a use takes, and the axes of its weight as they lie in the parameter."""
    ids = _sent(analysis, s, p)
    shape = analysis.graph.values[s.use.weight].shape
    if ids is None or tuple(ids.shape) != shape or not ids.numel():
        return None
    steps = _steps(ids)
    if steps is None:
        return None
    strides = iter(s.use.stride)
    found = []
    for axis, (step, size) in enumerate(zip(steps, shape, strict=True)):
        meaning = s.use.axes[axis]
        stride = next(strides, 1) if meaning == "tap" else 1
        if step == 0 and size > 1 and meaning != "batch":
            return None  # repeated along an axis that counts: a gain, no weight
        if meaning is None:
            return None
        if step and size > 1:
            found += _grouped(s, _Stretch(step, size, meaning, stride))
    return int(ids.min()), tuple(found)


def _grouped(s: Sighting, stretch: _Stretch) -> list[_Stretch]:
    """The axis that spans all groups of a convolution as groups and units of one group."""
    groups, side = s.use.groups, s.use.groups_on
    if groups < 2 or stretch.meaning != side:
        return [stretch]
    units = stretch.size // groups
    inside = [_Stretch(stretch.step, units, side)] if units > 1 else []
    return [_Stretch(stretch.step * units, groups, "batch"), *inside]


def _sent(analysis: Analysis, s: Sighting, p: Parameter) -> Any:
    import torch

    env: dict[int, Any] = {s.link.value: torch.arange(math.prod(p.shape)).reshape(p.shape)}
    for index in s.link.ops:
        pass_through(analysis.graph, analysis.graph.ops[index], env)
    return env.get(s.use.weight)


def _steps(ids: Any) -> list[int] | None:
    """The step along each axis; None where it changes along the way."""
    import torch

    first = ids[(0,) * ids.dim()]
    steps = [int(ids.select(a, 1)[(0,) * (ids.dim() - 1)] - first) if n > 1 else 0 for a, n in enumerate(ids.shape)]
    want = first.clone()
    for axis, (step, size) in enumerate(zip(steps, ids.shape, strict=True)):
        view = [1] * ids.dim()
        view[axis] = size
        want = want + step * torch.arange(size).view(view)
    return [abs(step) for step in steps] if bool((want == ids).all()) else None


def _fills(ordered: Sequence[_Stretch], count: int) -> bool:
    """Whether the axes, from the largest step to the smallest, number every entry once."""
    left = count
    for stretch in ordered:
        if stretch.step * stretch.size != left:
            return False
        left = stretch.step
    return left == 1


def _layout(s: Sighting, shape: Sequence[int], ordered: list[_Stretch]) -> Layout | None:
    """The layout in the parameter's own axes where each has one meaning, else in those of a view."""
    if not any(stretch.meaning == "in" for stretch in ordered):
        ordered.append(_Stretch(1, 1, "in"))  # one input a unit: a depthwise kernel
    own = _in_own_axes(shape, ordered)
    stretches = own if own is not None else ordered
    view = () if own is not None else tuple(stretch.size for stretch in ordered)
    use = replace(
        s.use, groups=1, stride=tuple(stretch.stride for stretch in stretches if stretch.meaning == "tap"), bag=1
    )
    layout, known = layout_of(use, tuple(stretch.meaning for stretch in stretches), len(stretches))
    return replace(layout, view=view) if known else None


def _in_own_axes(shape: Sequence[int], ordered: Sequence[_Stretch]) -> list[_Stretch] | None:
    """One stretch for each axis of the parameter; None where an axis runs several meanings together."""
    left = [stretch for stretch in ordered if stretch.size > 1]
    axes: list[_Stretch | None] = []
    for size in shape:
        meanings, rest = set[tuple[Axis, int]](), size
        while rest > 1 and left:
            stretch = left[0]
            part = math.gcd(rest, stretch.size)
            if part == 1 or (part < rest and part < stretch.size):
                return None
            meanings.add((stretch.meaning, stretch.stride))
            rest //= part
            left[:1] = [replace(stretch, size=stretch.size // part)] if part < stretch.size else []
        if rest > 1 or len(meanings) > 1:
            return None
        axes.append(_Stretch(0, size, *meanings.pop()) if meanings else None)
    return _with_ones(axes)


def _with_ones(axes: list[_Stretch | None]) -> list[_Stretch] | None:
    """Axes of size one count inputs where nothing else does, and independent maps otherwise."""
    wanted = not any(a is not None and a.meaning == "in" for a in axes)
    found = []
    for axis in axes:
        if axis is None:
            axis = _Stretch(0, 1, "in" if wanted else "batch")
            wanted = False
        found.append(axis)
    return None if wanted else found
