"""Layouts of parameters: what each axis means, from the contraction that a parameter takes part in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fanin.errors import LayoutError
from fanin.graph.analysis.axes import Link
from fanin.graph.analysis.contraction import Contraction, layout_of
from fanin.graph.ir import Parameter
from fanin.graph.roles.data import Part
from fanin.layout import Layout

__all__ = ["default_layout", "fits", "vector", "weight_layout", "with_parts"]


def vector(p: Parameter) -> Layout:
    """One number a unit: every axis counts outputs, none is summed."""
    return Layout(out_axes=tuple(range(len(p.shape))), in_axes=())


def default_layout(p: Parameter) -> Layout:
    """Torch's default order of axes; one number a unit below two axes."""
    return Layout.default(len(p.shape)) if len(p.shape) > 1 else vector(p)


def weight_layout(use: Contraction, link: Link, p: Parameter) -> tuple[Layout, bool]:
    """The layout of a weight, and whether it is known; the default layout where the one that was found does not fit."""
    layout, known = layout_of(use, link.axes, len(p.shape))
    return (layout, known) if fits(layout, p) else (default_layout(p), False)


def fits(layout: Layout, p: Parameter) -> bool:
    """Whether a layout describes the shape of a parameter."""
    try:
        layout.check(p.shape)
    except LayoutError:
        return False
    return True


def with_parts(layout: Layout, parts: tuple[Part, ...], shape: Sequence[int]) -> Layout:
    """The layout with the maps that its output axis holds side by side."""
    if len(parts) < 2 or len(layout.out_axes) != 1 or layout.groups > 1 or layout.view:
        return layout
    sizes = tuple(part.size for part in parts)
    if sum(sizes) != shape[layout.out_axes[0]]:
        return layout
    if parts[0].step > 1:
        return _in_turn(layout, len(parts), shape)
    return replace(layout, parts=len(sizes) if len(set(sizes)) == 1 else sizes)


def _in_turn(layout: Layout, count: int, shape: Sequence[int]) -> Layout:
    """The layout of maps that take turns along the output axis: a view in which an axis of its own counts them.

    The maps of a weight are then independent ones, and the units of a vector are its parts.
    """
    axis = layout.out_axes[0]
    view = (*shape[:axis], shape[axis] // count, count, *shape[axis + 1 :])

    def moved(axes: Sequence[int]) -> tuple[int, ...]:
        return tuple(a + (a > axis) for a in axes)

    moved_layout = replace(
        layout,
        out_axes=(axis,),
        in_axes=moved(layout.in_axes),
        tap_axes=moved(layout.tap_axes),
        batch_axes=(*moved(layout.batch_axes), axis + 1),
        view=view,
    )
    if layout.in_axes:
        return moved_layout
    return replace(moved_layout, out_axes=(axis + 1,), batch_axes=(*moved(layout.batch_axes), axis), parts=count)
