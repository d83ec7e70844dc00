"""Embeddings: two positions share a row exactly where their indices are equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fanin.graph.ir import Op
from fanin.memory import as_array
from fanin.moments import kernel as kn
from fanin.moments.frame import Frame, NoRuleError
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments
from fanin.moments.signal import Signal

__all__ = ["RULES", "equality_kernel"]

_MAX_VALUES = 512


def equality_kernel(ids: Any) -> Array:
    """Chance that two indices are equal, by the axes they share.

    Example:
        >>> equality_kernel(np.array([[3, 5], [3, 7]])).round(2)
        array([[0. , 0.5],
               [0. , 1. ]])
    """
    array = np.asarray(ids)
    array = array.reshape([n for n in array.shape if n != 1])
    values = np.unique(array)
    if values.size > _MAX_VALUES:
        values = values[:: -(-values.size // _MAX_VALUES)]
        kernel = _sum_of_indicators(array, values) * (np.unique(array).size / values.size)
        kernel[(1,) * kernel.ndim] = 1.0
        return np.minimum(kernel, 1.0)
    return _sum_of_indicators(array, values)


def _sum_of_indicators(array: Any, values: Any) -> Array:
    return np.asarray(sum(kn.measure((array == v).astype(np.float64)) for v in values))


def _equalities(frame: Frame, template: Any, rows: int) -> tuple[Array, tuple[int, ...], tuple[int, ...]]:
    """Equality kernel of an index tensor, its sizes and shape; 1 / rows for indices that are not known."""
    value = frame.graph.value(template.index)
    sizes = tuple(n for n in value.shape if n != 1)
    numbers = frame.numbers(template)
    if numbers is None:
        kernel = np.full((2,) * len(sizes), 1.0 / rows)
        kernel[(1,) * len(sizes)] = 1.0
        return kernel, sizes, value.shape
    return equality_kernel(as_array(numbers.cpu())), sizes, value.shape


def looked_up(table: JointMoments, equal: Array, sizes: tuple[int, ...], shape: tuple[int, ...]) -> JointMoments:
    """Moments of rows of a table, given how often two indices are equal."""
    rows = table.merged(0)
    (axis,) = rows.axes(0) or (None,)
    if axis is None:
        raise NoRuleError("a table of one row")
    other, same = rows.kernel[0], rows.kernel[1]
    kernel = np.multiply.outer(equal, same) + np.multiply.outer(1.0 - equal, other)
    return JointMoments(
        shape=(*shape, *table.shape[1:]), sizes=(*sizes, *rows.sizes[1:]), mean=table.mean, kernel=np.asarray(kernel)
    )


def _embedding(frame: Frame, op: Op) -> Signal:
    weight, ids = op.arg(0, "weight"), op.arg(1, "indices")
    if ids is not None and frame.graph.value(ids.index).is_float:
        weight, ids = ids, weight
    table = frame.moments(weight)
    equal, sizes, shape = _equalities(frame, ids, table.shape[0])
    return frame.made(op, looked_up(table, equal, sizes, shape), fresh=True)


def _embedding_bag(frame: Frame, op: Op) -> list[Signal]:
    weight, ids = op.arg(0, "weight"), op.arg(1, "indices")
    offsets, mode = frame.numbers(op.arg(2, "offsets")), op.arg(4, "mode", 0)
    table = frame.moments(weight)
    bags = frame.graph.value(op.output).shape[0]
    value = frame.graph.value(ids.index)
    if value.numel % bags or mode not in (0, 1) or (offsets is not None and _uneven(offsets, value.numel // bags)):
        raise NoRuleError("bags of unequal sizes, or their maximum")
    numbers = frame.numbers(ids)
    size = value.numel // bags
    if numbers is None:
        equal = np.full((2, 2), 1.0 / table.shape[0])
        equal[1, 1] = 1.0
    else:
        equal = equality_kernel(as_array(numbers.reshape(bags, size).cpu()))
    sizes = tuple(n for n in (bags, size) if n != 1)
    rows = looked_up(table, equal.reshape((2,) * len(sizes)), sizes, (bags, size))
    out = rows.summed([1], mean=mode == 1)
    return [frame.made(op, out, fresh=True)] + [frame.made(op, JointMoments.constant((), 0.0)) for _ in op.outputs[1:]]


def _uneven(offsets: Any, size: int) -> bool:
    return bool((np.diff(as_array(offsets.cpu())) != size).any())


RULES: Mapping[str, Callable[[Frame, Op], Signal | Sequence[Signal]]] = {
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
}
