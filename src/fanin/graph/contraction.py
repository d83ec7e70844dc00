"""Where parameters meet the signal: which operation sums over which axes of which parameter.

`contractions` reads the operations, `trace` follows a weight back through the operations that shape it (transposes,
weight norm, standardization, selection of an expert) to the parameters it is made of, carrying along what each axis
means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fanin.graph.ir import Graph, Op, Ref
from fanin.graph.taint import Taint
from fanin.layout import Layout

__all__ = ["Contraction", "Link", "contractions", "layout_of", "trace"]

Axis = Literal["out", "in", "tap", "batch"]
Axes = tuple["Axis | None", ...]
_BATCH: tuple[Axis, ...] = ("batch",)
_TAP: tuple[Axis, ...] = ("tap",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contraction:
    """One use of a weight.

    Attributes:
        op: index of the operation.
        weight: value index of the weight as the operation sees it.
        data: value indices of what it is applied to.
        bias: value index of what the operation adds, if anything.
        axes: what each axis of that weight is.
        groups: groups of a convolution.
        groups_on: the side whose axis spans all groups (see `Layout`).
        stride: stride per tap.
        padding: zero padding per tap, "same" or "valid".
        dilation: dilation per tap.
        transposed: a transposed convolution.
        lookup: rows are read, not summed.
        bag: rows summed into one output.
    """

    op: int
    weight: int
    data: tuple[int, ...]
    bias: int | None = None
    axes: Axes = ("out", "in")
    groups: int = 1
    groups_on: Literal["out", "in"] = "out"
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    dilation: tuple[int, ...] = ()
    transposed: bool = False
    lookup: bool = False
    bag: int = 1


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


# ---------------------------------------------------------------------- which operations use a weight, and how
Reader = Callable[[Graph, Op, Taint], Iterator[Contraction]]


def contractions(graph: Graph, kinds: Taint) -> dict[int, tuple[Contraction, ...]]:
    """All uses of weights, by op index, in order."""
    found = {}
    for op in graph.live_ops():
        reader = _READERS.get(op.name)
        uses = tuple(reader(graph, op, kinds)) if reader is not None else ()
        if uses:
            found[op.index] = uses
    return found


def _addressed(axes: Callable[[int], Axes]) -> Reader:
    """Operations called as (input, weight, bias)."""

    def read(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
        x, weight = op.ref(0, "input"), op.ref(1, "weight")
        if x is not None and weight is not None and kinds.is_weight(weight):
            rank = len(graph.values[weight].shape)
            yield Contraction(op=op.index, weight=weight, data=(x,), bias=op.ref(2, "bias"), axes=axes(rank))

    return read


def _linear_axes(rank: int) -> Axes:
    return ("in",) if rank == 1 else (*_BATCH * (rank - 2), "out", "in")


def _numbers(given: Any, count: int, default: int) -> tuple[int, ...]:
    if given is None or isinstance(given, (str, Ref)):
        return (default,) * count
    if isinstance(given, int):
        return (given,) * count
    return tuple(given) * (count if len(given) == 1 else 1)


def _convolution(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    x, weight = op.ref(0, "input"), op.ref(1, "weight")
    if x is None or weight is None or not kinds.is_weight(weight):
        return
    rank = len(graph.values[weight].shape)
    aten = op.name in ("convolution", "_convolution")
    transposed = bool(op.arg(6, "transposed", False)) if aten else "transpose" in op.name
    groups = op.arg(8, "groups", 1) if aten else op.arg(6, "groups", 1)
    dilation = op.arg(5, "dilation", 1) if aten or not transposed else op.arg(7, "dilation", 1)
    padding = op.arg(4, "padding", 0)
    ends: Axes = ("in", "out") if transposed else ("out", "in")
    yield Contraction(
        op=op.index,
        weight=weight,
        data=(x,),
        bias=op.ref(2, "bias"),
        axes=(*ends, *_TAP * (rank - 2)),
        groups=groups,
        groups_on="in" if transposed else "out",
        stride=_numbers(op.arg(3, "stride", 1), rank - 2, 1),
        padding=padding if isinstance(padding, str) else _numbers(padding, rank - 2, 0),
        dilation=_numbers(dilation, rank - 2, 1),
        transposed=transposed,
    )


def _product(left: int, right: int, bias: int | None = None) -> Reader:
    """Matrix products whose operands stand at two places of the call; either may be the weight."""

    def read(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
        a, b = op.ref(left), op.ref(right)
        if a is None or b is None:
            return
        added = None if bias is None else op.ref(bias)
        latent = op.index in kinds.latent_products
        if kinds.is_weight(b) and (not kinds.is_weight(a) or latent) and _carries(kinds, op):
            yield Contraction(
                op=op.index, weight=b, data=(a,), bias=added, axes=_right_axes(len(graph.values[b].shape))
            )
        elif kinds.is_weight(a) and not kinds.is_weight(b) and _carries(kinds, op):
            yield Contraction(
                op=op.index, weight=a, data=(b,), bias=added, axes=_linear_axes(len(graph.values[a].shape))
            )

    return read


def _carries(kinds: Taint, op: Op) -> bool:
    return kinds.is_signal(op.output)


def _right_axes(rank: int) -> Axes:
    return ("in",) if rank == 1 else (*_BATCH * (rank - 2), "in", "out")


def _swapped(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    yield from _product(1, 0)(graph, op, kinds)


def _einsum(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    equation = op.arg(0)
    if not isinstance(equation, str) or not _carries(kinds, op):
        return
    rest = op.args[1] if len(op.args) == 2 and isinstance(op.args[1], (list, tuple)) else op.args[1:]
    operands = [r.index for r in rest if isinstance(r, Ref)]
    terms, _, out = equation.replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(letters) != len(operands) or "..." in "".join(
        letters[i] for i, v in enumerate(operands) if kinds.is_weight(v)
    ):
        return
    data = tuple(v for v in operands if not kinds.is_weight(v))
    for i, v in enumerate(operands):
        if not kinds.is_weight(v) or (not data and i == 0):
            continue
        others = set("".join(t for j, t in enumerate(letters) if j != i))
        axes: Axes = tuple(_einsum_axis(c, out, others) for c in letters[i])
        yield Contraction(op=op.index, weight=v, data=data or (operands[0],), axes=axes)


def _einsum_axis(letter: str, out: str, others: set[str]) -> Axis:
    if letter not in out:
        return "in"
    return "batch" if letter in others else "out"


def _lookup(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    weight, rows = op.ref(0, "weight"), op.ref(1, "indices")
    if weight is None or rows is None or not kinds.is_weight(weight):
        return
    shape = graph.values[rows].shape
    bag = shape[-1] if op.name == "embedding_bag" and len(shape) == 2 and op.arg(4, "mode", 0) == 0 else 1
    yield Contraction(op=op.index, weight=weight, data=(rows,), axes=("in", "out"), lookup=True, bag=max(bag, 1))


def _bilinear(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    x1, x2, weight = op.ref(0), op.ref(1), op.ref(2)
    if x1 is not None and x2 is not None and weight is not None and kinds.is_weight(weight):
        yield Contraction(op=op.index, weight=weight, data=(x1, x2), bias=op.ref(3), axes=("out", "in", "in"))


def _tensordot(graph: Graph, op: Op, kinds: Taint) -> Iterator[Contraction]:
    a, b, dims = op.ref(0), op.ref(1), op.arg(2, "dims", 2)
    if a is None or b is None or isinstance(dims, Ref):
        return
    weight, side = (b, 1) if kinds.is_weight(b) and not kinds.is_weight(a) else (a, 0)
    if not kinds.is_weight(weight) or not _carries(kinds, op):
        return
    rank = len(graph.values[weight].shape)
    if isinstance(dims, int):
        summed = set(range(dims)) if side else set(range(rank - dims, rank))
    else:
        summed = {d % rank for d in dims[side]}
    axes: Axes = tuple("in" if i in summed else "out" for i in range(rank))
    yield Contraction(op=op.index, weight=weight, data=(a if side else b,), axes=axes)


_READERS: Mapping[str, Reader] = {
    "linear": _addressed(_linear_axes),
    "_grouped_mm": _product(0, 1),
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _convolution,
    "conv_transpose2d": _convolution,
    "conv_transpose3d": _convolution,
    "convolution": _convolution,
    "_convolution": _convolution,
    "conv_tbc": _addressed(lambda rank: ("tap", "in", "out")),
    "deform_conv2d": _addressed(lambda rank: ("out", "in", "tap", "tap")),
    "matmul": _product(0, 1),
    "mm": _product(0, 1),
    "bmm": _product(0, 1),
    "mv": _product(0, 1),
    "dot": _product(0, 1),
    "inner": _addressed(_linear_axes),
    "rmatmul": _swapped,
    "addmm": _product(1, 2, 0),
    "baddbmm": _product(1, 2, 0),
    "addbmm": _product(1, 2, 0),
    "addmv": _product(1, 2, 0),
    "einsum": _einsum,
    "tensordot": _tensordot,
    "embedding": _lookup,
    "embedding_bag": _lookup,
    "bilinear": _bilinear,
}


# ---------------------------------------------------------------------- from the weight back to the parameters
def trace(graph: Graph, kinds: Taint, weight: int, axes: Axes) -> tuple[Link, ...]:
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
            if kinds.is_weight(source) and (op.name not in _MAPS or source == op.ref(1, "weight")):
                back = _pull(graph, op, value, source, known)
                todo.append((source, back, (op.index, *ops), whole and _is_whole(graph, op, value, source)))
    return tuple(found.values())


def _better(new: Link, old: Link) -> bool:
    return (new.axes is not None, new.whole, -len(new.ops)) > (old.axes is not None, old.whole, -len(old.ops))


_MAPS = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "bilinear"}
)  # a map inside a chain makes a weight from a learned input
_KEEPS_ALL_PARTS = frozenset(
    {"cat", "stack", "hstack", "vstack", "matmul", "mm", "bmm", "einsum", "linear", "getitem", "setitem", "conv2d"}
)


def _is_whole(graph: Graph, op: Op, value: int, source: int) -> bool:
    return op.name in _KEEPS_ALL_PARTS or graph.values[source].numel >= graph.values[value].numel


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
    "cat": _pull_same,
    "stack": _pull_stacked,
    "getitem": _pull_getitem,
    "matmul": _pull_product,
    "mm": _pull_product,
    "linear": lambda op, before, after, axes: _linear_axes(len(before)),
}


def layout_of(use: Contraction, axes: Axes | None, rank: int) -> tuple[Layout, bool]:
    """The `Layout` of a parameter, and whether it is known (else torch's default order is assumed)."""
    if rank == 0:
        return Layout(out_axes=(), in_axes=()), True
    if axes is None or None in axes:
        return Layout.default(rank), False
    groups = use.groups
    places = {kind: tuple(i for i, a in enumerate(axes) if a == kind) for kind in ("out", "in", "tap", "batch")}
    taps = places["tap"]
    stride: int | tuple[int, ...] = use.stride if len(use.stride) == len(taps) and taps else 1
    if isinstance(stride, tuple) and len(set(stride)) == 1:
        stride = stride[0]
    return Layout(
        out_axes=places["out"],
        in_axes=places["in"],
        tap_axes=taps,
        batch_axes=places["batch"],
        groups=groups,
        groups_on=use.groups_on,
        stride=stride,
        transposed=use.transposed,
        lookup=use.lookup,
        bag=use.bag,
    ), True
