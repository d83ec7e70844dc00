"""Contractions: which operation sums products of the signal with which axes of which parameter.

`contractions` reads the operations, `trace` follows a weight back through the operations that shape it (transposes,
weight norm, standardization, selection of an expert) to the parameters it is made of, carrying along what each axis
means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fanin.graph.analysis.dependence import Dependence
from fanin.graph.ir import Graph, Op, Ref
from fanin.layout import Layout
from fanin.model.operations import VIEWS

__all__ = ["Axes", "Axis", "Contraction", "contractions", "einsum_axis", "layout_of", "linear_axes", "right_axes"]

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
        multiplied: each input axis belongs to a datum of its own.
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
    multiplied: bool = False


# ---------------------------------------------------------------------- which operations use a weight, and how
Reader = Callable[[Graph, Op, Dependence], Iterator[Contraction]]


def contractions(graph: Graph, dependence: Dependence) -> dict[int, tuple[Contraction, ...]]:
    """All uses of weights, by op index, in order."""
    found = {}
    for op in graph.live_ops():
        reader = _READERS.get(op.name)
        uses = tuple(reader(graph, op, dependence)) if reader is not None else ()
        if uses:
            found[op.index] = uses
    return found


def _addressed(axes: Callable[[int], Axes]) -> Reader:
    """Operations called as (input, weight, bias)."""

    def read(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
        x, weight = op.ref(0, "input"), op.ref(1, "weight")
        if x is not None and weight is not None and dependence.is_weight(weight):
            rank = len(graph.values[weight].shape)
            yield Contraction(op=op.index, weight=weight, data=(x,), bias=op.ref(2, "bias"), axes=axes(rank))

    return read


def linear_axes(rank: int) -> Axes:
    """What the axes of a (*batch, out, in) matrix are."""
    return ("in",) if rank == 1 else (*_BATCH * (rank - 2), "out", "in")


def _numbers(given: Any, count: int, default: int) -> tuple[int, ...]:
    if given is None or isinstance(given, (str, Ref)):
        return (default,) * count
    if isinstance(given, int):
        return (given,) * count
    return tuple(given) * (count if len(given) == 1 else 1)


def _convolution(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    x, weight = op.ref(0, "input"), op.ref(1, "weight")
    if x is None or weight is None or not dependence.is_weight(weight):
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
    """Matrix products whose operands are at two places of the call; either may be the weight."""

    def read(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
        a, b = op.ref(left), op.ref(right)
        if a is None or b is None:
            return
        added = None if bias is None else op.ref(bias)
        latent = op.index in dependence.latent_products
        if dependence.is_weight(b) and (not dependence.is_weight(a) or latent) and _carries(dependence, op):
            yield Contraction(op=op.index, weight=b, data=(a,), bias=added, axes=right_axes(len(graph.values[b].shape)))
        elif dependence.is_weight(a) and not dependence.is_weight(b) and _carries(dependence, op):
            yield Contraction(
                op=op.index, weight=a, data=(b,), bias=added, axes=linear_axes(len(graph.values[a].shape))
            )

    return read


def _carries(dependence: Dependence, op: Op) -> bool:
    return dependence.is_signal(op.output)


def right_axes(rank: int) -> Axes:
    """What the axes of a (*batch, in, out) matrix are."""
    return ("in",) if rank == 1 else (*_BATCH * (rank - 2), "in", "out")


def _swapped(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    yield from _product(1, 0)(graph, op, dependence)


def _einsum(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    equation = op.arg(0)
    if not isinstance(equation, str) or not _carries(dependence, op):
        return
    rest = op.args[1] if len(op.args) == 2 and isinstance(op.args[1], (list, tuple)) else op.args[1:]
    operands = [r.index for r in rest if isinstance(r, Ref)]
    terms, _, out = equation.replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(letters) != len(operands) or "..." in "".join(
        letters[i] for i, v in enumerate(operands) if dependence.is_weight(v)
    ):
        return
    data = tuple(v for v in operands if not dependence.is_weight(v))
    for i, v in enumerate(operands):
        if not dependence.is_weight(v) or (not data and i == 0):
            continue
        others = set("".join(t for j, t in enumerate(letters) if j != i))
        axes: Axes = tuple(einsum_axis(c, out, others) for c in letters[i])
        summed = {c for c, axis in zip(letters[i], axes, strict=True) if axis == "in"}
        read = [summed & set(letters[j]) for j, u in enumerate(operands) if u in data]
        apart = len(read) > 1 and all(len(r) == 1 for r in read) and len(set().union(*read)) == len(read)
        yield Contraction(op=op.index, weight=v, data=data or (operands[0],), axes=axes, multiplied=apart)


def einsum_axis(letter: str, out: str, others: set[str]) -> Axis:
    """What an axis of one operand of an einsum is, by the letters of its output and of the other operands."""
    if letter not in out:
        return "in"
    return "batch" if letter in others else "out"


def _lookup(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    weight, rows = op.ref(0, "weight"), op.ref(1, "indices")
    if weight is None or rows is None or not dependence.is_weight(weight):
        return
    bag = _bag(graph, op, rows) if op.name == "embedding_bag" else 1
    yield Contraction(op=op.index, weight=weight, data=(rows,), axes=("in", "out"), lookup=True, bag=bag)


def _bag(graph: Graph, op: Op, rows: int) -> int:
    """Rows that a bag sums, in the mean over the bags of the given inputs; 1 where it averages or takes the largest.

    Padding does not count, and a row that is weighted counts by its squared weight.
    """
    bags = max(graph.values[op.output].shape[0], 1)
    if op.arg(4, "mode", 0) != 0:
        return 1
    weights, numbers = op.ref(6, "per_sample_weights"), _given(graph, rows)
    weighed = None if weights is None else _given(graph, weights)
    total = float(graph.values[rows].numel)
    if weighed is not None:
        total = float(weighed.double().square().sum())
    elif numbers is not None and isinstance(padding := op.arg(8, "padding_idx", -1), int) and padding >= 0:
        total = float((numbers != padding).sum())
    return max(round(total / bags), 1)


def _given(graph: Graph, value: int) -> Any | None:
    """The numbers of an input or constant, also behind views of all of them; None where they are not known."""
    while value not in graph.data:
        op = graph.producer(value)
        if op is None or op.name not in VIEWS or graph.values[op.inputs[0]].numel != graph.values[value].numel:
            return None
        value = op.inputs[0]
    known = graph.data[value]
    return None if known.is_meta else known


def _summed_product(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    """A sum over axes that a signal and a parameter share, written as a product and a sum."""
    product = graph.producer(op.inputs[0]) if op.inputs else None
    if product is None or product.name != "mul" or len(set(product.inputs)) != 2 or product.output in _returned(graph):
        return
    weights = [i for i in product.inputs if dependence.is_weight(i) and _is_viewed_parameter(graph, i)]
    data = [i for i in product.inputs if dependence.is_signal(i)]
    summed = _summed_axes(op, len(graph.values[product.output].shape))
    if len(weights) != 1 or len(data) != 1 or not summed:
        return
    axes = _product_axes(graph.values[weights[0]].shape, graph.values[data[0]].shape, summed)
    if axes is not None:
        yield Contraction(op=op.index, weight=weights[0], data=(data[0],), axes=axes)


def _returned(graph: Graph) -> frozenset[int]:
    return frozenset(o.value for o in graph.outputs)


def _is_viewed_parameter(graph: Graph, value: int) -> bool:
    while (op := graph.producer(value)) is not None:
        if op.name not in VIEWS or len(op.inputs) != 1:
            return False
        value = op.inputs[0]
    return graph.values[value].kind == "parameter"


def _summed_axes(op: Op, rank: int) -> frozenset[int]:
    dims = op.arg(1, "dim")
    if dims is None or isinstance(dims, Ref) or len(dims if isinstance(dims, (list, tuple)) else (0,)) == 0:
        return frozenset(range(rank))
    return frozenset(d % rank for d in (dims if isinstance(dims, (list, tuple)) else (dims,)))


def _product_axes(weight: Sequence[int], data: Sequence[int], summed: frozenset[int]) -> Axes | None:
    """What the axes of a factor are; None where a summed axis is not one of both factors."""
    rank = max(len(weight), len(data))
    sizes = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (weight, data)]
    if any(sizes[0][d] == 1 or sizes[1][d] == 1 for d in summed):
        return None
    kinds: list[Axis] = []
    for d in range(rank - len(weight), rank):
        kinds.append("in" if d in summed else "batch" if sizes[1][d] > 1 or sizes[0][d] == 1 else "out")
    return tuple(kinds)


def _bilinear(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    x1, x2, weight = op.ref(0), op.ref(1), op.ref(2)
    if x1 is not None and x2 is not None and weight is not None and dependence.is_weight(weight):
        yield Contraction(
            op=op.index, weight=weight, data=(x1, x2), bias=op.ref(3), axes=("out", "in", "in"), multiplied=True
        )


def _tensordot(graph: Graph, op: Op, dependence: Dependence) -> Iterator[Contraction]:
    a, b, dims = op.ref(0), op.ref(1), op.arg(2, "dims", 2)
    if len(op.args) > 3:  # as torch calls it inside: the axes of either operand on their own
        dims = (op.args[2], op.args[3])
    if a is None or b is None or isinstance(dims, Ref):
        return
    weight, side = (b, 1) if dependence.is_weight(b) and not dependence.is_weight(a) else (a, 0)
    if not dependence.is_weight(weight) or not _carries(dependence, op):
        return
    rank = len(graph.values[weight].shape)
    if isinstance(dims, int):
        summed = set(range(dims)) if side else set(range(rank - dims, rank))
    else:
        summed = {d % rank for d in dims[side]}
    axes: Axes = tuple("in" if i in summed else "out" for i in range(rank))
    yield Contraction(op=op.index, weight=weight, data=(a if side else b,), axes=axes)


_READERS: Mapping[str, Reader] = {
    "linear": _addressed(linear_axes),
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
    "inner": _addressed(linear_axes),
    "rmatmul": _swapped,
    "addmm": _product(1, 2, 0),
    "baddbmm": _product(1, 2, 0),
    "addbmm": _product(1, 2, 0),
    "addmv": _product(1, 2, 0),
    "einsum": _einsum,
    "tensordot": _tensordot,
    "sum": _summed_product,
    "embedding": _lookup,
    "embedding_bag": _lookup,
    "bilinear": _bilinear,
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
        multiplied=use.multiplied,
    ), True
