"""What each primitive of a jaxpr is in torch: one function each, from its parameters and inputs to its output."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fanin.errors import CaptureError
from fanin.integrations.jax.convolutions import convolution
from fanin.integrations.jax.gathers import dynamic_slice, dynamic_update_slice, gather

__all__ = ["PRIMITIVES", "torch_dtype"]

Settings = Mapping[str, Any]
Translation = Callable[..., Any]


def torch_dtype(dtype: Any) -> torch.dtype:
    """The torch dtype of a JAX dtype.

    Raises:
        CaptureError: torch has none.
    """
    found = getattr(torch, str(dtype), None)
    if not isinstance(found, torch.dtype):
        raise CaptureError(f"JAX's dtype {dtype} has no counterpart in torch, so it is not followed")
    return found


# ---------------------------------------------------------------------------------------------------- shapes
def _broadcast_in_dim(p: Settings, x: torch.Tensor, *_: Any) -> torch.Tensor:
    shape = tuple(p["shape"])
    sizes = [1] * len(shape)
    for axis, place in enumerate(p["broadcast_dimensions"]):
        sizes[place] = x.shape[axis]
    viewed = x if tuple(x.shape) == tuple(sizes) else x.reshape(sizes)
    return viewed if tuple(sizes) == shape else viewed.expand(shape)


def _slice(p: Settings, x: torch.Tensor) -> torch.Tensor:
    steps = p["strides"] or (1,) * x.dim()
    places = tuple(slice(a, b, s) for a, b, s in zip(p["start_indices"], p["limit_indices"], steps, strict=True))
    return x[places]


def _pad(p: Settings, x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    if any(inner for _, _, inner in p["padding_config"]):
        return _pad_between(p, x, value)
    widths = [n for low, high, _ in reversed(p["padding_config"]) for n in (low, high)]
    return torch.nn.functional.pad(x, widths, value=float(value))


def _pad_between(p: Settings, x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    inner = [max((n - 1) * (gap + 1) + 1, 0) for n, (_, _, gap) in zip(x.shape, p["padding_config"], strict=True)]
    spread = torch.zeros(inner, dtype=x.dtype) + value
    spread[tuple(slice(None, None, gap + 1) for _, _, gap in p["padding_config"])] = x
    return _pad({"padding_config": [(low, high, 0) for low, high, _ in p["padding_config"]]}, spread, value)


def _split(p: Settings, x: torch.Tensor) -> Any:
    return torch.split(x, list(p["sizes"]), dim=p["axis"])


def _iota(p: Settings) -> torch.Tensor:
    shape, axis = tuple(p["shape"]), p["dimension"]
    sizes = [n if a == axis else 1 for a, n in enumerate(shape)]
    return torch.arange(shape[axis], dtype=torch_dtype(p["dtype"])).reshape(sizes).expand(shape)


# ---------------------------------------------------------------------------------------------------- products
def _dot_general(p: Settings, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    (over_a, over_b), (batch_a, batch_b) = p["dimension_numbers"]
    wanted = p.get("preferred_element_type")
    if wanted is not None and (dtype := torch_dtype(wanted)) != a.dtype:
        a, b = a.to(dtype), b.to(dtype)
    if not batch_a and b.dim() == 2 and tuple(over_a) == (a.dim() - 1,) and tuple(over_b) == (0,):
        return torch.matmul(a, b)
    letters = iter(string.ascii_letters)
    of_a = [next(letters) for _ in a.shape]
    of_b = [next(letters) for _ in b.shape]
    for one, other in (*zip(over_a, over_b, strict=True), *zip(batch_a, batch_b, strict=True)):
        of_b[other] = of_a[one]
    free_a = [x for i, x in enumerate(of_a) if i not in over_a and i not in batch_a]
    free_b = [x for i, x in enumerate(of_b) if i not in over_b and i not in batch_b]
    out = [of_a[i] for i in batch_a] + free_a + free_b
    return torch.einsum(f"{''.join(of_a)},{''.join(of_b)}->{''.join(out)}", a, b)


# ---------------------------------------------------------------------------------------------------- reductions
def _over(reduce: Callable[..., torch.Tensor]) -> Translation:
    def made(p: Settings, x: torch.Tensor) -> torch.Tensor:
        axes = tuple(p["axes"])
        return reduce(x, dim=axes) if axes else x

    return made


def _prod(p: Settings, x: torch.Tensor) -> torch.Tensor:
    for axis in sorted(p["axes"], reverse=True):
        x = x.prod(dim=axis)
    return x


def _logical(reduce: Callable[..., torch.Tensor]) -> Translation:
    def made(p: Settings, x: torch.Tensor) -> torch.Tensor:
        for axis in sorted(p["axes"], reverse=True):
            x = reduce(x, dim=axis)
        return x

    return made


def _along(accumulate: Callable[..., Any]) -> Translation:
    def made(p: Settings, x: torch.Tensor) -> torch.Tensor:
        axis = p["axis"]
        source = x.flip(axis) if p["reverse"] else x
        found = accumulate(source, dim=axis)
        found = found if isinstance(found, torch.Tensor) else found.values
        return found.flip(axis) if p["reverse"] else found

    return made


def _windows(p: Settings, x: torch.Tensor, fill: float) -> torch.Tensor:
    """All windows of a pooling, gathered along one last axis."""
    if any(d != 1 for d in p["base_dilation"]):
        raise CaptureError("a pooling over a dilated input is not followed")
    widths = [n for low, high in reversed(p["padding"]) for n in (low, high)]
    x = torch.nn.functional.pad(x, widths, value=fill) if any(widths) else x
    kept = x.dim()
    sizes = zip(p["window_dimensions"], p["window_strides"], p["window_dilation"], strict=True)
    for axis, (size, stride, dilation) in enumerate(sizes):
        x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return x.flatten(kept)


def _pooled(p: Settings, x: torch.Tensor, pool: str) -> torch.Tensor | None:
    """The pooling by torch's own operation, where two axes beside batch and channels are pooled; None elsewhere."""
    sizes, strides, pads = p["window_dimensions"], p["window_strides"], p["padding"]
    axes = [a for a, n in enumerate(sizes) if n > 1 or strides[a] > 1]
    plain = x.dim() == 4 and len(axes) == 2 and not any(low or high for low, high in pads)
    if not plain or any(d != 1 for d in (*p["window_dilation"], *p["base_dilation"])):
        return None
    order = [a for a in range(4) if a not in axes] + axes
    size, stride = [sizes[a] for a in axes], [strides[a] for a in axes]
    if pool == "max":
        made = torch.nn.functional.max_pool2d(x.permute(order), size, stride)
    else:
        made = torch.nn.functional.avg_pool2d(x.permute(order), size, stride) * float(size[0] * size[1])
    return made.permute([order.index(a) for a in range(4)])


def _pool_max(p: Settings, x: torch.Tensor) -> torch.Tensor:
    found = _pooled(p, x, "max")
    return _windows(p, x, -torch.inf).amax(dim=-1) if found is None else found


def _pool_sum(p: Settings, x: torch.Tensor) -> torch.Tensor:
    found = _pooled(p, x, "sum")
    return _windows(p, x, 0.0).sum(dim=-1) if found is None else found


# ---------------------------------------------------------------------------------------------------- choices
def _select_n(p: Settings, which: torch.Tensor, *cases: torch.Tensor) -> torch.Tensor:
    if which.dtype == torch.bool:
        return torch.where(which, cases[1], cases[0])
    made = cases[0]
    for n, case in enumerate(cases[1:], 1):
        made = torch.where(which == n, case, made)
    return made


def _integer_pow(p: Settings, x: torch.Tensor) -> torch.Tensor:
    return torch.square(x) if p["y"] == 2 else torch.pow(x, p["y"])


def _clamp(p: Settings, low: torch.Tensor, x: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x, low, high)


def _sort(p: Settings, *operands: torch.Tensor) -> tuple[torch.Tensor, ...]:
    axis, sorted_by = p["dimension"], operands
    for n in reversed(range(p.get("num_keys", 1))):  # the last key first: each sort keeps the order of equal ones
        order = torch.argsort(sorted_by[n], dim=axis, stable=True)
        sorted_by = tuple(torch.gather(x, axis, order) for x in sorted_by)
    return sorted_by


def _top_k(p: Settings, x: torch.Tensor) -> Any:
    values, places = torch.topk(x, p["k"], dim=p.get("axis", -1))
    return values, places.to(torch.int32)


def _same(p: Settings, x: torch.Tensor) -> torch.Tensor:
    return x


def _converted(p: Settings, x: torch.Tensor) -> torch.Tensor:
    return x.to(torch_dtype(p["new_dtype"]))


def _argmax(find: Callable[..., torch.Tensor]) -> Translation:
    def made(p: Settings, x: torch.Tensor) -> torch.Tensor:
        return find(x, dim=p["axes"][0]).to(torch_dtype(p["index_dtype"]))

    return made


def _plain(function: Callable[..., torch.Tensor]) -> Translation:
    return lambda p, *inputs: function(*inputs)


def _erf_inverse(p: Settings, x: torch.Tensor) -> torch.Tensor:
    return torch.erfinv(x)


def _concatenate(p: Settings, *parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, dim=p["dimension"])


def _maximum(p: Settings, a: Any, b: Any) -> torch.Tensor:
    """max(x, 0) is ReLU; other maxima are themselves."""
    for x, other in ((a, b), (b, a)):
        if isinstance(other, float) and isinstance(x, torch.Tensor):
            return torch.relu(x) if other == 0.0 else torch.clamp(x, min=other)
    return torch.maximum(a, b)


def _minimum(p: Settings, a: Any, b: Any) -> torch.Tensor:
    for x, other in ((a, b), (b, a)):
        if isinstance(other, float) and isinstance(x, torch.Tensor):
            return torch.clamp(x, max=other)
    return torch.minimum(a, b)


def _sizes(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)


_SAME_NAME = (
    "abs acos acosh asin asinh atan atan2 atanh ceil cos cosh erf erfc exp exp2 expm1 floor log log1p logical_not neg "
    "nextafter real imag conj rsqrt sign sin sinh sqrt square tan tanh add mul sub div eq ne lt le gt ge"
)

PRIMITIVES: Mapping[str, Translation] = {
    **{name: _plain(getattr(torch, name)) for name in _SAME_NAME.split(" ")},
    "add_any": _plain(torch.add),
    "and": _plain(torch.bitwise_and),
    "argmax": _argmax(torch.argmax),
    "argmin": _argmax(torch.argmin),
    "broadcast_in_dim": _broadcast_in_dim,
    "cbrt": lambda p, x: torch.sign(x) * torch.abs(x) ** (1.0 / 3.0),
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": convolution,
    "convert_element_type": _converted,
    "copy": _same,
    "copy_p": _same,
    "cumlogsumexp": _along(torch.logcumsumexp),
    "cummax": _along(torch.cummax),
    "cummin": _along(torch.cummin),
    "cumprod": _along(torch.cumprod),
    "cumsum": _along(torch.cumsum),
    "digamma": _plain(torch.digamma),
    "dot_general": _dot_general,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "erf_inv": _erf_inverse,
    "expand_dims": lambda p, x: _expanded(p, x),
    "gather": gather,
    "integer_pow": _integer_pow,
    "iota": _iota,
    "is_finite": _plain(torch.isfinite),
    "lgamma": _plain(torch.lgamma),
    "logistic": _plain(torch.sigmoid),
    "max": _maximum,
    "min": _minimum,
    "name": _same,
    "not": _plain(torch.bitwise_not),
    "optimization_barrier": lambda p, *xs: xs,
    "or": _plain(torch.bitwise_or),
    "pad": _pad,
    "pow": _plain(torch.pow),
    "reduce_and": _logical(torch.all),
    "reduce_max": _over(torch.amax),
    "reduce_min": _over(torch.amin),
    "reduce_or": _logical(torch.any),
    "reduce_precision": _same,
    "reduce_prod": _prod,
    "reduce_sum": _over(torch.sum),
    "reduce_window_max": _pool_max,
    "reduce_window_sum": _pool_sum,
    "rem": _plain(torch.fmod),
    "reshape": lambda p, x, *_: x.reshape(_sizes(p["new_sizes"])),
    "rev": lambda p, x: x.flip(_sizes(p["dimensions"])),
    "round": lambda p, x: torch.round(x),
    "select_n": _select_n,
    "sharding_constraint": _same,
    "slice": _slice,
    "sort": _sort,
    "split": _split,
    "squeeze": lambda p, x: x.reshape([n for a, n in enumerate(x.shape) if a not in _sizes(p["dimensions"])]),
    "stop_gradient": lambda p, x: x.detach(),
    "top_k": _top_k,
    "transpose": lambda p, x: x.permute(_sizes(p["permutation"])),
    "xor": _plain(torch.bitwise_xor),
}


def _expanded(p: Settings, x: torch.Tensor) -> torch.Tensor:
    for axis in sorted(p["dimensions"]):
        x = x.unsqueeze(axis)
    return x
