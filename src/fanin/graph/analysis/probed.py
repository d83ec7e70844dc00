"""What the axes of a parameter mean where more than views make a weight of it: one entry at a time is changed.

The entries of the weight that change with it say where it goes. An axis of the parameter along which they move over
the output units counts outputs, one along which they move over the inputs counts inputs. Along an axis that is summed
away they stay: maps of their own, of which the weight is the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.contraction import Axes, Axis, layout_of
from fanin.graph.ir import Parameter
from fanin.graph.recording.replay import replayed
from fanin.layout import Layout

__all__ = ["probed_layout"]

_MOST = 1 << 24  # entries of a parameter that is asked
_CHANGE = 0.5  # of one entry, among normal numbers
_SEED = 0

Places = tuple[frozenset[int], ...]  # along each axis of the weight, the coordinates of the entries that change


def probed_layout(analysis: Analysis, seen: Sighting, p: Parameter) -> Layout | None:
    """The layout of a parameter by what its entries change; None where other parameters or signals have a part in it.

    Also where an axis moves the change over several axes of the weight at once, or an operation does not run alone.
    """
    if len(p.shape) < 2 or not 1 < math.prod(p.shape) <= _MOST or seen.use.lookup:
        return None
    try:
        axes = _axes(analysis, seen, p)
    except Exception:  # an operation that does not run alone says nothing of the axes
        return None
    if axes is None or "in" not in axes:
        return None
    layout, known = layout_of(seen.use, axes, len(p.shape))
    return layout if known else None


def _axes(analysis: Analysis, seen: Sighting, p: Parameter) -> Axes | None:
    import torch

    meanings = [m for m in seen.use.axes if m is not None]
    if len(meanings) < len(seen.use.axes):
        return None
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        base = torch.randn(p.shape)
        weight = _made(analysis, seen, base)
        if weight.dim() != len(meanings):
            return None
        origin = _places(analysis, seen, base, weight, (0,) * base.dim())
        moves: list[set[int]] = []
        for axis, size in enumerate(base.shape):
            ends = (tuple(i if a == axis else 0 for a in range(base.dim())) for i in (size - 1, min(1, size - 1)))
            moved = next((m for i in ends if any(m := _places(analysis, seen, base, weight, i))), origin)
            moves.append({i for i, (one, other) in enumerate(zip(origin, moved, strict=True)) if one != other})
    if any(len({meanings[i] for i in along}) > 1 for along in moves):
        return None
    found: list[Axis | None] = [meanings[min(along)] if along else None for along in moves]
    return _filled(found, base.shape, {meanings[i] for i, places in enumerate(origin) if len(places) > 1})


def _filled(found: list[Axis | None], shape: Sequence[int], spanned: set[Axis]) -> Axes | None:
    """The axes, with those along which nothing moves as maps of their own, or as the one that is mixed whole."""
    still = [a for a, meaning in enumerate(found) if meaning is None and shape[a] > 1]
    if len(spanned) > 1 or (spanned and len(still) != 1):
        return None
    axes: list[Axis] = [meaning or "batch" for meaning in found]
    for a in still if spanned else ():
        axes[a] = next(iter(spanned))
    return tuple(axes)


def _places(analysis: Analysis, seen: Sighting, base: Any, weight: Any, index: tuple[int, ...]) -> Places:
    """The coordinates, along each axis of the weight, of the entries that change with one of the parameter."""
    changed = base.clone()
    changed[index] += _CHANGE
    where = (_made(analysis, seen, changed) != weight).nonzero(as_tuple=True)
    return tuple(frozenset(along.unique().tolist()) for along in where)


def _made(analysis: Analysis, seen: Sighting, numbers: Any) -> Any:
    return replayed(analysis.graph, {seen.link.value: numbers}, seen.use.weight)
