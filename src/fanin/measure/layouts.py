"""What the axes of a parameter mean, told by the operation that reads it: where no graph was captured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from fanin.layout import Layout
from fanin.measure.calls import Call
from fanin.measure.origins import Origins
from fanin.model.operations import LOOKUPS
from fanin.model.roles import Seen
from fanin.model.trees import tensors_in

__all__ = ["note_layouts", "seen_in_call"]

_TRANSPOSED = frozenset(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"))


def seen_in_call(call: Call, used: torch.Tensor, parameter: torch.Tensor) -> Seen | None:
    """Role and layout of a parameter that an operation reads; None where the call does not tell.

    Args:
        call: of an operation that sums over a weight or looks rows up.
        used: the operand: the parameter, a transposed view of it, or what elementwise operations made of either.
        parameter: the parameter.

    Example:
        >>> x, w = torch.randn(5, 8), torch.nn.Parameter(torch.randn(8, 3))
        >>> call = Call(op="matmul", kind="weight", args=(x, w), kwargs={})
        >>> seen_in_call(call, w, w).layout == Layout.linear_in_out()
        True
    """
    order = _order_of_axes(used, parameter)
    read = _READERS.get(call.op)
    layout = None if read is None or order is None else read(call, used)
    if layout is None or order is None:
        return None
    return Seen(role="embedding" if call.op in LOOKUPS else "weight", layout=_reordered(layout, order), source="call")


def note_layouts(call: Call, origins: Origins, parameters: Mapping[str, torch.Tensor], found: dict[str, Seen]) -> None:
    """What the axes of the parameters mean that an operation sums over; those that are known already stay."""
    for tensor in tensors_in((call.args, call.kwargs)):
        origin = origins[tensor]
        names = () if origin.data or tensor.dim() < 2 else origin.parameters
        name = next(iter(names), "") if len(names) == 1 else ""
        if name and name not in found:
            seen = seen_in_call(call, tensor, parameters[name])
            if seen is not None:
                found[name] = seen


def _order_of_axes(used: torch.Tensor, parameter: torch.Tensor) -> tuple[int, ...] | None:
    """Axis of the parameter behind each axis of the operand; None where views in between mixed them."""
    same = tuple(range(parameter.dim()))
    for order in (same, (*same[:-2], *same[:-3:-1])):
        shape, strides = (tuple(f(a) for a in order) for f in (parameter.size, parameter.stride))
        if tuple(used.shape) == shape and used.stride() == strides:
            return order
    return None


def _reordered(layout: Layout, order: tuple[int, ...]) -> Layout:
    """A layout of the operand as one of the parameter."""
    if order == tuple(range(len(order))):
        return layout
    out, inside, batch = (
        tuple(order[a] for a in axes) for axes in (layout.out_axes, layout.in_axes, layout.batch_axes)
    )
    return Layout(out_axes=out, in_axes=inside, batch_axes=batch, lookup=layout.lookup)


def _position(call: Call, used: torch.Tensor, *names: str) -> int | None:
    """Which argument the operand is."""
    here = [i for i, x in enumerate(call.args) if x is used]
    here += [i for i, name in enumerate(names) if call.kwargs.get(name) is used]
    return here[0] if len(here) == 1 else None


def _linear(call: Call, used: torch.Tensor) -> Layout | None:
    return Layout.linear() if _position(call, used, "input", "weight") == 1 and used.dim() == 2 else None


def _product(first: int, *names: str) -> Callable[[Call, torch.Tensor], Layout | None]:
    """Of A @ B, where A is the argument at `first` and B the next."""

    def read(call: Call, used: torch.Tensor) -> Layout | None:
        side = (_position(call, used, *names) or 0) - first if used.dim() in (2, 3) else None
        if side not in (0, 1) or _position(call, used, *names) is None:
            return None
        if used.dim() == 3:
            return Layout.experts(in_out=side == 1)
        return Layout.linear_in_out() if side == 1 else Layout.linear()

    return read


def _convolution(call: Call, used: torch.Tensor) -> Layout | None:
    if _position(call, used, "input", "weight") != 1:
        return None
    stride, groups = call.argument(3, "stride", 1), call.argument(6, "groups", 1)
    make = Layout.conv_transposed if call.op in _TRANSPOSED else Layout.conv
    return make(used.dim() - 2, groups=groups, stride=stride if isinstance(stride, int) else tuple(stride))


def _lookup(call: Call, used: torch.Tensor) -> Layout | None:
    return Layout.embedding() if used.dim() == 2 else None


def _bilinear(call: Call, used: torch.Tensor) -> Layout | None:
    return Layout.bilinear() if used.dim() == 3 else None


def _einsum(call: Call, used: torch.Tensor) -> Layout | None:
    """Of two operands: letters of the weight are summed over with the signal, kept alone, or shared by all three."""
    sides, arrow, out = str(call.args[0]).replace(" ", "").partition("->")
    terms = list(zip(sides.split(","), tensors_in(call.args[1:]), strict=False))
    own = [side for side, x in terms if x is used]
    others = [side for side, x in terms if x is not used]
    if not arrow or len(own) != 1 or len(others) != 1 or len(set(own[0])) != used.dim():
        return None
    kinds = [(letter in others[0], letter in out) for letter in own[0]]
    found = {kind: tuple(axis for axis, k in enumerate(kinds) if k == kind) for kind in set(kinds)}
    inside, outside = found.get((True, False), ()), found.get((False, True), ())
    if not inside or not outside or (False, False) in found or "." in own[0]:
        return None
    return Layout(out_axes=outside, in_axes=inside, batch_axes=found.get((True, True), ()))


_READERS: Mapping[str, Callable[[Call, Any], Layout | None]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _product(0, "input", "mat2")),
    **dict.fromkeys(("addmm", "baddbmm"), _product(1, "input", "mat1", "mat2")),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(_TRANSPOSED, _convolution),
    **dict.fromkeys(LOOKUPS, _lookup),
    "bilinear": _bilinear,
    "einsum": _einsum,
}
