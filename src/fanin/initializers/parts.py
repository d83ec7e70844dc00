"""Parts of a weight whose entries depend on each other: a process that holds a part makes the bits of the whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fanin.initializers.base import Array, Initializer, Ranges
from fanin.layout import Block, Layout
from fanin.streams.keys import Key

__all__ = [
    "Ranges",
    "by_place",
    "cut",
    "diagonal",
    "in_own_order",
    "joined",
    "overlaps",
    "part_of",
    "row_sums",
    "sides",
    "unit_axes",
    "whole_along",
]


def whole_along(box: Ranges, axes: Collection[int], shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The box, made as long as the weight along some axes.

    Example:
        >>> whole_along([(1, 2), (0, 3)], [1], (4, 9))
        ((1, 2), (0, 9))
    """
    return tuple((0, shape[a]) if a in axes else (ends[0], ends[1]) for a, ends in enumerate(box))


def cut(values: Array, box: Ranges, start: Ranges) -> Array:
    """A box of the values that begin at `start`."""
    inside = tuple(slice(a - s, b - s) for (a, b), (s, _) in zip(box, start, strict=True))
    return values[inside]


def part_of(law: Initializer, box: Ranges, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
    """Any box of a law's values, made from as few numbers as the law allows.

    Example:
        >>> import fanin
        >>> from fanin.initializers import Centred, Normal
        >>> law, key = Centred(Normal(std=1.0)), fanin.key(0, "w")
        >>> part = part_of(law, [(2, 3), (1, 4)], (6, 5), None, key, "float32")
        >>> bool((part == law.sample((6, 5), key=key)[2:3, 1:4]).all())
        True
    """
    joint = law.joint_axes(shape, layout)
    if joint is None:
        whole = tuple((0, n) for n in shape)
        return cut(law.sample(shape, key=key, layout=layout, dtype=dtype), box, whole)
    more = whole_along(box, joint, shape)
    return cut(law.part(more, shape, layout, key, dtype), box, more)


def joined(laws: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """The joint axes of a weight that several laws make between them."""
    if any(axes is None for axes in laws):
        return None
    return tuple(sorted({a for axes in laws if axes is not None for a in axes}))


# ---------------------------------------------------------------------- units
def unit_axes(layout: Layout, *, per_input: bool = False) -> tuple[int, ...] | None:
    """Axes over which one unit's incoming weights lie (`per_input`: one input's outgoing weights, and the taps).

    None where a part has no plain order of units: several axes of one kind, or groups that are counted by the inputs.

    Example:
        >>> unit_axes(Layout.conv(2)), unit_axes(Layout.linear_in_out()), unit_axes(Layout.heads())
        ((1, 2, 3), (0,), None)
    """
    several = len(layout.out_axes) > 1 or len(layout.in_axes) > 1 or len(layout.batch_axes) > 1
    if several or layout.view or (layout.groups > 1 and layout.groups_on == "in"):
        return None
    return tuple(sorted((*(layout.out_axes if per_input else layout.in_axes), *layout.tap_axes)))


def in_own_order(maps: Array, box: Ranges, layout: Layout) -> Array:
    """An array (batch, out, in, taps) of a box, in the order of the weight's own axes."""
    order = (*layout.batch_axes, *layout.out_axes, *layout.in_axes, *layout.tap_axes)
    sizes = [box[a][1] - box[a][0] for a in order]
    turned: Array = maps.reshape(sizes).transpose(np.argsort(order))
    return turned


def sides(box: Ranges, layout: Layout) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(first, after the last) of a box along the batch, the outputs and the inputs."""
    batch = box[layout.batch_axes[0]] if layout.batch_axes else (0, 1)
    return batch, box[layout.out_axes[0]], box[layout.in_axes[0]]


Matrix = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64], Block], Array]


def by_place(
    box: Ranges, shape: Sequence[int], layout: Layout, matrix: Matrix, taps: Callable[[Block], Array]
) -> Array:
    """A box of maps that are a matrix, a function of output and input, times a number for each tap.

    Args:
        box: which part.
        shape: of the whole weight.
        layout: one that `unit_axes` knows.
        matrix: its entries for some outputs and inputs, counted within their part or group.
        taps: the numbers of the taps of a part, flat.
    """
    batch, (first, last), (low, high) = sides(box, layout)
    found = layout.blocks(shape)
    made = []
    for which, a, b in overlaps([block.out * (layout.groups) for block in found], first, last):
        block = found[which]
        rows = matrix(np.arange(a, b) % block.out, np.arange(low, high), block)
        kernel = taps(block).reshape(block.taps)[tuple(slice(*box[axis]) for axis in layout.tap_axes)]
        made.append(np.multiply.outer(rows, kernel.reshape(-1)))
    one = np.concatenate(made, axis=0) + 0.0  # no negative zeros
    return in_own_order(np.broadcast_to(one, (batch[1] - batch[0], *one.shape)), box, layout)


def diagonal(value: float) -> Matrix:
    """Entries of a map that copies its inputs, times a number."""
    return lambda outs, inputs, block: np.where(outs[:, None] == inputs[None, :], value, 0.0)


def row_sums(rows: Array) -> Array:
    """The sum of each row of a matrix: halves are added until one number is left.

    The order of the sum depends on the length of a row alone, so it is the same on every mesh and every machine.

    Example:
        >>> row_sums(np.arange(10.0).reshape(2, 5))
        array([10., 35.])
    """
    while rows.shape[-1] > 1:
        half = (rows.shape[-1] + 1) // 2
        folded = rows[..., :half].copy()
        folded[..., : rows.shape[-1] - half] += rows[..., half:]
        rows = folded
    return rows[..., 0]


def overlaps(sizes: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """(which, first, last) of each stretch of these sizes that a run meets, counted from the stretch's own start.

    Example:
        >>> list(overlaps((3, 4), 2, 5))
        [(0, 2, 3), (1, 0, 2)]
    """
    start = 0
    for which, size in enumerate(sizes):
        low, high = max(first - start, 0), min(last - start, size)
        if low < high:
            yield which, low, high
        start += size
