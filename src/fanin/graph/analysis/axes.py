"""From a weight back to its parameters, carrying along what each axis means.

`trace` follows a weight through the operations that shape it (transposes, weight norm, standardization, selection of an
expert) and gives the parameters it is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanin.graph.analysis.contraction import Axes, Axis, linear_axes
from fanin.graph.analysis.dependence import Dependence
from fanin.graph.ir import Graph, Op, Ref
from fanin.model.operations import BROADCASTS, VIEWS

__all__ = ["Link", "is_outer", "trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One parameter that a weight is made of.

    Attributes:
        value: the parameter's leaf.
        axes: what its axes are in the contraction; None where that could not be followed.
        ops: indices of the operations between the parameter and the weight, from the parameter on.
        whole: whether the parameter is the weight itself (not a gain or offset that is broadcast into it).
    """

    value: int
    axes: Axes | None
    ops: tuple[int, ...]
    whole: bool


def trace(graph: Graph, dependence: Dependence, weight: int, axes: Axes) -> tuple[Link, ...]:
    """The parameters that a weight is made of, each once, with the meaning of their axes."""
    found: dict[int, Link] = {}
    todo: list[tuple[int, Axes | None, tuple[int, ...], bool]] = [(weight, axes, (), True)]
    steps = 0
    while todo and steps < 500:
        steps += 1
        value, known, ops, whole = todo.pop()
        v = graph.values[value]
        if v.kind == "parameter":
            link = Link(value=value, axes=known if known and len(known) == len(v.shape) else None, ops=ops, whole=whole)
            if value not in found or _better(link, found[value]):
                found[value] = link
            continue
        op = graph.producer(value)
        if op is None or op.index in ops:
            continue
        for source in dict.fromkeys(op.inputs):
            if dependence.is_weight(source) and (op.name not in _MAPS or source == op.ref(1, "weight")):
                if is_outer(graph, op) and _only_moved(graph, ops):
                    todo.append((source, None, (op.index, *ops), whole))
                    continue
                back = _pull(graph, op, value, source, known)
                todo.append((source, back, (op.index, *ops), whole and _is_whole(graph, op, value, source, known)))
    return tuple(found.values())


def is_outer(graph: Graph, op: Op) -> bool:
    """Whether each entry of a result is one entry of each operand, every pair once: a Kronecker or outer product."""
    sizes = [graph.values[v].numel for v in dict.fromkeys(op.inputs)]
    made = graph.values[op.output].numel
    return op.name in _OUTER and len(sizes) == 2 and max(sizes) < made == sizes[0] * sizes[1]


_OUTER = frozenset({"kron", "outer", "ger", "mul"})


def _only_moved(graph: Graph, ops: Sequence[int]) -> bool:
    """Whether nothing but views and such products lies between a value and the weight."""
    return all(graph.ops[index].name in VIEWS or is_outer(graph, graph.ops[index]) for index in ops)


def _better(new: Link, old: Link) -> bool:
    return (new.axes is not None, new.whole, -len(new.ops)) > (old.axes is not None, old.whole, -len(old.ops))


_MAPS = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "bilinear"}
)  # a map inside a chain makes a weight from a learned input
_REPEATS = BROADCASTS | {"repeat"}
_KEEPS_ALL_PARTS = frozenset(
    {
        "cat",
        "stack",
        "hstack",
        "vstack",
        "matmul",
        "mm",
        "bmm",
        "einsum",
        "linear",
        "getitem",
        "setitem",
        "conv2d",
        "pad",
        "constant_pad_nd",
    }
)


def _is_whole(graph: Graph, op: Op, value: int, source: int, axes: Axes | None) -> bool:
    """Whether an op's input is the weight itself; one that is repeated over independent maps is."""
    before, after = graph.values[source].shape, graph.values[value].shape
    if op.name in _KEEPS_ALL_PARTS or graph.values[source].numel >= graph.values[value].numel:
        return True
    if op.name not in _REPEATS or axes is None or len(before) > len(after):
        return False
    padded = (1,) * (len(after) - len(before)) + tuple(before)
    return all(axis == "batch" for axis, b, a in zip(axes, padded, after, strict=True) if b != a)


def _pull(graph: Graph, op: Op, value: int, source: int, axes: Axes | None) -> Axes | None:
    """Meaning of the axes of an op's input, given that of its output; None where it cannot be followed."""
    if axes is None:
        return None
    before, after = graph.values[source].shape, graph.values[value].shape
    puller = _PULLERS.get(op.name)
    if puller is not None:
        return puller(op, before, after, axes)
    if before == after:
        return axes
    return _pull_broadcast(before, after, axes)


def _pull_broadcast(before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    if len(before) > len(after) or any(b not in (1, a) for b, a in zip(before[::-1], after[::-1], strict=False)):
        return None
    return axes[len(after) - len(before) :]


def _pull_permuted(
    order: Callable[[Op, int], Sequence[int]],
) -> Callable[[Op, Sequence[int], Sequence[int], Axes], Axes | None]:
    def pull(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
        places = order(op, len(before))
        back: list[Axis | None] = [None] * len(before)
        for new, old in enumerate(places):
            back[old] = axes[new]
        return tuple(back)

    return pull


def _transpose_order(op: Op, rank: int) -> list[int]:
    order = list(range(rank))
    i, j = (op.arg(1, "dim0", 0) % rank, op.arg(2, "dim1", 1) % rank) if len(op.args) + len(op.kwargs) > 1 else (0, 1)
    order[i], order[j] = order[j], order[i]
    return order


def _reversed_order(op: Op, rank: int) -> list[int]:
    return list(range(rank))[::-1]


def _last_two_order(op: Op, rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _moved_order(op: Op, rank: int) -> list[int]:
    source, destination = op.arg(1, "source"), op.arg(2, "destination")
    if isinstance(source, int):
        source, destination = (source,), (destination,)
    moved = {d % rank: s % rank for s, d in zip(source, destination, strict=True)}
    rest = iter(i for i in range(rank) if i not in moved.values())
    return [moved[i] if i in moved else next(rest) for i in range(rank)]


def _permute_order(op: Op, rank: int) -> list[int]:
    dims = op.args[1] if len(op.args) == 2 and isinstance(op.args[1], (tuple, list)) else op.args[1:]
    dims = dims or op.kwargs.get("dims", ())
    return [d % rank for d in dims]


def _pull_reshape(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    """Match the axes of two shapes in groups of equal size; a split axis means what its parts agree on."""
    back: list[Axis | None] = []
    i = j = 0
    while i < len(before):
        if before[i] == 1 and (j >= len(after) or after[j] != 1):  # an axis of one that the reshape dropped
            back.append("batch" if "in" in axes else "in")
            i += 1
            continue
        while j < len(after) and after[j] == 1 and before[i] != 1:  # one that it added
            j += 1
        left, right, first, start = before[i], after[j] if j < len(after) else 1, j, i
        i, j = i + 1, j + 1
        while left != right:
            if left < right and i < len(before):
                left, i = left * before[i], i + 1
            elif right < left and j < len(after):
                right, j = right * after[j], j + 1
            else:
                return None
        meanings = {axes[k] for k in range(first, min(j, len(axes))) if after[k] != 1} or {
            axes[k] for k in range(first, min(j, len(axes)))
        }
        meaning = _agreed(meanings)
        if meaning is None and meanings:
            return None
        back += [meaning] * (i - start)
    return tuple(back)


def _agreed(meanings: set[Axis | None]) -> Axis | None:
    if len(meanings) == 1:
        return next(iter(meanings))
    if meanings == {"batch", "out"}:  # heads or experts stacked along the output axis
        return "out"
    return "in" if meanings == {"batch", "in"} else None


def _pull_dropped(dim: Callable[[Op], Any]) -> Callable[[Op, Sequence[int], Sequence[int], Axes], Axes | None]:
    def pull(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
        at = dim(op)
        if not isinstance(at, int):
            return None
        at %= len(before)
        return (*axes[:at], "batch", *axes[at:])

    return pull


def _pull_reduced(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    """Entries along an axis become one: of a sum of maps, each is a map of its own."""
    dim = op.arg(1, "dim")
    dims = [dim] if isinstance(dim, int) else list(dim) if isinstance(dim, tuple | list) else []
    gone = {d % len(before) for d in dims if isinstance(d, int)}
    if not gone or len(axes) != len(after):
        return None
    rest = iter(axes) if len(after) < len(before) else iter(a for i, a in enumerate(axes) if i not in gone)
    return tuple("batch" if i in gone else next(rest) for i in range(len(before)))


def _pull_stacked(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    at = op.arg(1, "dim", 0) % len(after)
    return (*axes[:at], *axes[at + 1 :])


def _pull_getitem(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    index = op.arg(1)
    parts = list(index) if isinstance(index, tuple) else [index]
    named = sum(1 for p in parts if p is not None and p is not Ellipsis)
    if Ellipsis in [p for p in parts if not isinstance(p, Ref)]:
        at = next(i for i, p in enumerate(parts) if p is Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(before) - named)
    back: list[Axis | None] = []
    rest = list(axes)
    for part in parts:
        if part is None:
            rest[:1] = []
        elif isinstance(part, slice):
            back.append(rest.pop(0) if rest else None)
        else:  # a number or a table of numbers picks some of independent maps
            back.append("batch")
            if isinstance(part, Ref) and len(after) + 1 > len(before):
                rest[:1] = []
    return (*back, *rest) if len(back) + len(rest) == len(before) else None


def _pull_product(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    """A factor of a low-rank weight: its inner axis faces the other factor."""
    if len(axes) < 2 or len(before) < 2 or set(axes[-2:]) != {"out", "in"}:
        return None
    return axes[-2:] if len(before) == 2 else axes


def _pull_same(op: Op, before: Sequence[int], after: Sequence[int], axes: Axes) -> Axes | None:
    return axes if len(before) == len(after) else None


Puller = Callable[[Op, Sequence[int], Sequence[int], Axes], "Axes | None"]
_PULLERS: Mapping[str, Puller] = {
    "transpose": _pull_permuted(_transpose_order),
    "t": _pull_permuted(_reversed_order),
    "T": _pull_permuted(_reversed_order),
    "mT": _pull_permuted(_last_two_order),
    "permute": _pull_permuted(_permute_order),
    "movedim": _pull_permuted(_moved_order),
    "view": _pull_reshape,
    "reshape": _pull_reshape,
    "flatten": _pull_reshape,
    "unflatten": _pull_reshape,
    "squeeze": _pull_reshape,
    "unsqueeze": _pull_reshape,
    "as_strided": _pull_reshape,
    "select": _pull_dropped(lambda op: op.arg(1, "dim", 0)),
    "vmap_slice": _pull_dropped(lambda op: op.arg(1, "dim", 0)),
    "unbind": _pull_dropped(lambda op: op.arg(1, "dim", 0)),
    "chunk": _pull_same,
    "split": _pull_same,
    "tensor_split": _pull_same,
    "narrow": _pull_same,
    "pad": _pull_same,
    "constant_pad_nd": _pull_same,
    "cat": _pull_same,
    "stack": _pull_stacked,
    "getitem": _pull_getitem,
    **dict.fromkeys(("sum", "nansum", "mean", "amax", "amin", "max", "min", "median", "prod"), _pull_reduced),
    "matmul": _pull_product,
    "mm": _pull_product,
    "linear": lambda op, before, after, axes: linear_axes(len(before)),
}
