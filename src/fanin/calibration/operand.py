"""Which operand of an operation is a weight: the operation is linear in it, so a factor on it is one on the output.

A weight is followed from its parameter through views, casts and factors, and through what parametrizations compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from fanin.measure.origins import Living
from fanin.model.operations import CONTRACTIONS, CONVOLUTIONS, LOOKUPS, RECURRENT, STARTS, VIEWS, is_inplace
from fanin.model.trees import tensors_in

__all__ = ["Made", "WeightedCall", "box_of", "joined", "weighted_call"]

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a tensor is made of.

    Attributes:
        parameters: names of the parameters that reach it through operations on parameters and constants alone.
        data: it depends on the model's inputs, or was read from a table.
        linear: a factor on the one parameter is a factor on it.
        scores: it is a product of data with data, or was made of one since: what attention puts through a softmax.
    """

    parameters: frozenset[str] = frozenset()
    data: bool = False
    linear: bool = True
    scores: bool = False


def joined(name: str, made: Sequence[Made]) -> Made:
    """What the result of an operation on such tensors is made of."""
    data = any(m.data for m in made)
    parameters = frozenset[str]().union(*(m.parameters for m in made if not m.data))
    if data or not parameters:
        product = name in CONTRACTIONS and sum(m.data for m in made) > 1
        return Made(data=data, scores=product or any(m.scores for m in made))
    once = sum(bool(m.parameters) for m in made) == 1
    follows = name in _LINEAR or (name in ("mul", "div") and bool(made[0].parameters))
    return Made(parameters=parameters, linear=once and follows and all(m.linear for m in made))


_PRODUCTS = ("matmul", "mm", "bmm", "einsum", "mv", "tensordot")
_LINEAR = VIEWS | {"neg", "mul", *_PRODUCTS}


# ---------------------------------------------------------------------- how operations are called
@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """Where an operation has its operands, and what it adds to their product.

    Attributes:
        operands: position and keyword of the tensors that are multiplied; empty for all that it is called with.
        bias: position and keyword of what is added on the channel axis of the output; None where it adds nothing so.
        addend: position and keyword of what is added whole, times the keyword ``beta``; None likewise.
    """

    operands: tuple[tuple[int, str], ...]
    bias: tuple[int, str] | None = None
    addend: tuple[int, str] | None = None


_MAP = _Form(operands=((0, "input"), (1, "weight")), bias=(2, "bias"))
_PRODUCT = _Form(operands=((0, "input"), (1, "mat2")))
_FORMS: Mapping[str, _Form] = {
    "linear": _MAP,
    **dict.fromkeys(CONVOLUTIONS - {"deform_conv2d", "conv_tbc"}, _MAP),
    "bilinear": _Form(operands=((0, "input1"), (1, "input2"), (2, "weight")), bias=(3, "bias")),
    "matmul": _Form(operands=((0, "input"), (1, "other"))),
    "mm": _PRODUCT,
    "bmm": _PRODUCT,
    "mv": _Form(operands=((0, "input"), (1, "vec"))),
    "dot": _Form(operands=((0, "input"), (1, "tensor"))),
    "inner": _Form(operands=((0, "input"), (1, "other"))),
    "tensordot": _Form(operands=((0, "a"), (1, "b"))),
    "addmm": _Form(operands=((1, "mat1"), (2, "mat2")), addend=(0, "input")),
    "baddbmm": _Form(operands=((1, "batch1"), (2, "batch2")), addend=(0, "input")),
    "addmv": _Form(operands=((1, "mat"), (2, "vec")), addend=(0, "input")),
    "einsum": _Form(operands=()),
    **dict.fromkeys(LOOKUPS, _Form(operands=((0, "weight"), (1, "indices")))),
}
_WEIGHT_LAST = frozenset({"linear", "bilinear"}) | CONVOLUTIONS  # of two operands without data the last is the weight


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedCall:
    """One call that applies a weight.

    Attributes:
        op: name of the operation.
        weight: the operand.
        made: what the weight is made of.
        data: the other operands.
        product: runs the operation without what it adds.
        added: what it adds, of a shape that fits the output; None where it adds nothing.
        bias: the parameters that this is made of.
        target: where the result goes: the tensor that is overwritten; None for a new one.
        channel: axis of the output that counts units.
        why_not: why the weight cannot be followed; "" where it can.
    """

    op: str
    weight: torch.Tensor
    made: Made
    data: tuple[torch.Tensor, ...]
    product: Callable[[], Any]
    added: torch.Tensor | None = None
    bias: frozenset[str] = frozenset()
    target: torch.Tensor | None = None
    channel: int = -1
    why_not: str = ""

    def finished(self, product: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        """The result of the operation, from a product that is multiplied by a factor; in its memory."""
        result = product
        if self.added is not None and factor != 1.0 and self.added.dtype == product.dtype:
            torch.add(self.added, product, alpha=factor, out=product)  # once over the memory in place of twice
            return result if self.target is None else self.target.copy_(result)
        if factor != 1.0:
            product.mul_(factor)
        if self.added is not None:
            product.add_(self.added)
        return result if self.target is None else self.target.copy_(result)


def weighted_call(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], known: Living[Made]
) -> WeightedCall | None:
    """How a call applies a weight to the signal; None where it does not.

    Args:
        func: the operation.
        name: its canonical name.
        args: positional arguments.
        kwargs: keyword arguments.
        known: what each tensor is made of.

    Example:
        >>> known, x, w = Living(Made()), torch.ones(2, 3), torch.ones(4, 3)
        >>> known[x], known[w] = Made(data=True), Made(parameters=frozenset({"fc.weight"}))
        >>> weighted_call(torch.matmul, "matmul", (x, w.T), {}, known) is None  # nothing was noted of the view
        True
        >>> weighted_call(torch.nn.functional.linear, "linear", (x, w), {}, known).made.parameters
        frozenset({'fc.weight'})
    """
    if name not in CONTRACTIONS:
        return None
    form = _FORMS.get(name)
    operands = _operands(name, form, args, kwargs)
    weights = [t for t in operands if known[t].parameters and not known[t].data]
    if not weights or not (name in STARTS or any(known[t].data for t in operands)):
        return None
    weight, why_not = weights[-1], _why_not(name, form, weights)
    data = tuple(t for t in operands if t is not weight)
    if why_not:
        made = Made(parameters=frozenset[str]().union(*(known[w].parameters for w in weights)))
        return WeightedCall(
            op=name, weight=weight, made=made, data=data, product=lambda: func(*args, **kwargs), why_not=why_not
        )
    if form is not None and form.addend is not None:
        apart = _without_addend(name, form.addend, func, args, kwargs, known)
    else:
        apart = _without_bias(name, weight.dim(), None if form is None else form.bias, func, args, kwargs, known)
    return WeightedCall(op=name, weight=weight, made=known[weight], data=data, **apart)


def _operands(name: str, form: _Form | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    if form is None or form.operands == ():
        return list(tensors_in((args, kwargs)))
    return [t for place in form.operands if isinstance(t := _at(args, kwargs, place), torch.Tensor)]


def _at(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: tuple[int, str]) -> Any:
    position, keyword = place
    return args[position] if position < len(args) else kwargs.get(keyword)


def _why_not(name: str, form: _Form | None, weights: Sequence[torch.Tensor]) -> str:
    if name in RECURRENT:
        return "one fused operation runs all steps, so no output of this weight alone is seen"
    if form is None:
        return f"fanin does not know how {name} applies it"
    if len(weights) > 1 and name not in _WEIGHT_LAST:
        return f"{name} multiplies it with another weight"
    return ""


class _Apart(TypedDict, total=False):
    """What of a `WeightedCall` says how the product runs without what is added to it."""

    product: Callable[[], Any]
    added: torch.Tensor | None
    bias: frozenset[str]
    target: torch.Tensor | None
    channel: int


def _without_bias(
    name: str,
    dims: int,
    place: tuple[int, str] | None,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    known: Living[Made],
) -> _Apart:
    """A call without what it adds on the channel axis, and without a place of its own for the result."""
    spatial = dims - 2 if name in CONVOLUTIONS else 0
    bias = None if place is None else _at(args, kwargs, place)
    rest = {k: v for k, v in kwargs.items() if k != "out" and (place is None or k != place[1])}
    given = tuple(None if place is not None and i == place[0] else a for i, a in enumerate(args))
    return {
        "product": lambda: func(*given, **rest),
        "added": None if bias is None else bias.reshape(-1, *(1,) * spatial) if spatial or bias.dim() != 1 else bias,
        "bias": frozenset() if bias is None else known[bias].parameters,
        "target": kwargs.get("out"),
        "channel": -1 - spatial,
    }


def _without_addend(
    name: str,
    place: tuple[int, str],
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    known: Living[Made],
) -> _Apart:
    """A call of beta * input + product without its first term."""
    addend, beta = _at(args, kwargs, place), kwargs.get("beta", 1)
    rest = {k: v for k, v in kwargs.items() if k not in ("out", "beta")}
    fresh = getattr(torch, name)  # func itself may overwrite what it adds to
    return {
        "product": lambda: fresh(*args, beta=0, **rest),
        "added": None if beta == 0 else addend * beta if beta != 1 else addend,
        "bias": known[addend].parameters,
        "target": args[0] if is_inplace(func) else kwargs.get("out"),
    }


# ---------------------------------------------------------------------- which part of a parameter
def box_of(used: torch.Tensor, parameter: torch.Tensor) -> Box | None:
    """Which part of a parameter an operand is, for each axis (first index, one after the last).

    Gives () for all of it in whatever order, and None where that cannot be told.

    Example:
        >>> w = torch.zeros(6, 4)
        >>> box_of(w.t(), w), box_of(w[2:5], w), box_of(w[3], w), box_of(w[::2], w)
        ((), ((2, 5), (0, 4)), ((3, 4), (0, 4)), None)
    """
    if used.numel() == parameter.numel():
        return ()
    if used.untyped_storage()._cdata != parameter.untyped_storage()._cdata or not used.numel():
        return None
    offset = used.storage_offset() - parameter.storage_offset()
    sizes = {stride: n for n, stride in zip(used.shape, used.stride(), strict=True) if n > 1}
    box: dict[int, tuple[int, int]] = {}
    for axis in sorted(range(parameter.dim()), key=lambda a: parameter.stride()[a], reverse=True):
        stride = parameter.stride(axis)
        start, offset = (offset // stride, offset % stride) if parameter.shape[axis] > 1 else (0, offset)
        box[axis] = (start, start + sizes.pop(stride, 1))
        if box[axis][1] > parameter.shape[axis]:
            return None
    return None if sizes or offset else tuple(box[axis] for axis in range(parameter.dim()))
