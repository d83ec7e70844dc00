"""Tools for laws that are made map by map: part for part, expert for expert, group for group."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from fanin.errors import LayoutError, ShapeError
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments
from fanin.layout import Block, Layout, from_blocks, to_blocks
from fanin.streams.keys import Key

__all__ = [
    "assemble",
    "mapped_layout",
    "maps_inside",
    "moments_by_block",
    "part_keys",
    "pooled",
    "scaled_gain",
    "unviewed",
]


def mapped_layout(shape: Sequence[int], layout: Layout | None, who: object) -> Layout:
    """The layout to use for a law that needs inputs and outputs.

    Raises:
        LayoutError: the shape has no input axis, or the layout does not fit it.
        ShapeError: an empty weight.
    """
    found = Layout.default(max(len(shape), 1)) if layout is None else layout
    found.check(shape)
    if not found.in_axes:
        raise LayoutError(
            f"{who} fills maps from inputs to outputs and the shape {tuple(shape)} has no input axis; use it for "
            "weights of rank >= 2, or pass the layout."
        )
    if math.prod(shape) == 0:
        raise ShapeError(f"{who} cannot fill the empty shape {tuple(shape)}; leave an empty parameter alone.")
    return found


def unviewed(shape: Sequence[int], layout: Layout) -> tuple[tuple[int, ...], Layout]:
    """The shape whose axes a layout names, and the layout of an array of that shape."""
    return layout.viewed(shape), dataclasses.replace(layout, view=())


def pooled(parts: Iterable[tuple[int, EntryMoments]]) -> EntryMoments:
    """Moments of an entry taken at random from several laws, given how many entries follow each."""
    found = list(parts)
    total = sum(n for n, _ in found)
    if len(found) == 1:
        return found[0][1]
    mean = sum(n * m.mean for n, m in found) / total
    var = sum(n * (m.var + (m.mean - mean) ** 2) for n, m in found) / total
    bounds = [m.bound for _, m in found]
    bound = None if any(b is None for b in bounds) else max(b for b in bounds if b is not None)
    return EntryMoments(mean=mean, var=var, kurtosis=_pooled_kurtosis(found, mean, var), bound=bound)


def _pooled_kurtosis(parts: Sequence[tuple[int, EntryMoments]], mean: float, var: float) -> float:
    """Kurtosis of the mixture; known where the parts share their mean, so that no third moment is needed."""
    if var == 0.0 or any(m.mean != mean for _, m in parts):
        return math.nan
    fourth = sum(n * (m.kurtosis * m.var**2 if m.var > 0.0 else 0.0) for n, m in parts)
    return fourth / (sum(n for n, _ in parts) * var**2)


def moments_by_block(shape: Sequence[int], layout: Layout, one: Callable[[Block], EntryMoments]) -> EntryMoments:
    """Moments of a law that treats each part alike."""
    return pooled((block.size, one(block)) for block in layout.blocks(shape))


def part_keys(key: Key, parts: int) -> list[Key]:
    """A stream for each part of a weight: the parameter's own where there is one part, else one of its own for each."""
    return [key] if parts == 1 else [key.for_purpose(f"part {p}") for p in range(parts)]


def maps_inside(weight: Array, layout: Layout) -> list[Array] | None:
    """The maps of each part as views (maps, out, inputs x taps) of the weight's own memory; None where it has none."""
    views = [b.reshape(*b.shape[:2], b.shape[2] * b.shape[3]) for b in to_blocks(weight, layout)]
    return views if all(np.may_share_memory(view, weight) for view in views) else None


def assemble(
    shape: Sequence[int], layout: Layout, key: Key, dtype: str, make: Callable[[Key, Block, str], Array]
) -> Array:
    """The weight whose parts `make` makes, rounded to `dtype`.

    `make(key, block, wide)` gives an array (maps, out, inputs, num_taps) in the dtype `wide`. Where there are several
    parts, each has a stream of its own.
    """
    wide = sampling.wide_dtype(dtype)
    found = layout.blocks(shape)
    keys = part_keys(key, len(found))
    parts = [make(k, block, wide) for k, block in zip(keys, found, strict=True)]
    return sampling.cast(from_blocks(parts, shape, layout), dtype)


def scaled_gain(gain: float, natural_std: float, fan_in: float, scaled: bool) -> float:
    """What a map whose entries have `natural_std` is multiplied by: gain, or what gives std = gain / sqrt(fan_in)."""
    return gain / (natural_std * math.sqrt(fan_in)) if scaled else gain
