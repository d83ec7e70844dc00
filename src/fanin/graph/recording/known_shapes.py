"""Results of the commonest operations without their fake kernels, where shapes tell all that these would.

A fake kernel takes a fifth of a millisecond, and a linear map has four. Everything that is not plain (other modes,
gradients, autocast, memory with gaps, operands that do not fit) is left to torch, which then refuses what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

__all__ = ["known_result"]

Shape: TypeAlias = "tuple[int, ...]"


def known_result(fake_mode: Any, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any | None:
    """The fake result of an operation; None where torch is to make it.

    Args:
        fake_mode: of the tensors.
        func: the operation, as a function mode sees it.
        args: positional arguments.
        kwargs: keyword arguments.
    """
    rule = _RULES.get(func)
    first: Any = args[0] if args else None
    if rule is None or not _is_plain(first, fake_mode, first) or _is_watched(first.fake_device.type):
        return None
    shape = rule(fake_mode, args, kwargs)
    if shape is None:
        return None
    if func is torch.dropout:
        return first
    with unset_fake_temporarily():
        made = torch.empty(shape, dtype=first.dtype, device="meta")
        return FakeTensor(fake_mode, made, first.fake_device)


def _is_plain(tensor: Any, fake_mode: Any, like: Any) -> bool:
    """Whether it is a dense tensor of floats of this mode, of the dtype and on the device of another one."""
    return (
        type(tensor) is FakeTensor
        and tensor.fake_mode is fake_mode
        and tensor.dtype.is_floating_point
        and tensor.dtype is like.dtype
        and tensor.fake_device == like.fake_device
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and tensor.is_contiguous()
        and tensor.numel() > 0
    )


def _is_watched(device: str) -> bool:
    """Whether more than the capture looks at the operation, or gives its result another dtype or a graph."""
    return (
        torch.is_grad_enabled()
        or torch.is_inference_mode_enabled()
        or torch.is_autocast_enabled(device)
        or torch._C._len_torch_function_stack() > 0
        or torch._C._len_torch_dispatch_stack() > 1
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def _linear(fake_mode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape | None:
    if kwargs or len(args) not in (2, 3):
        return None
    x, weight, bias = (*args, None)[:3]
    if not _is_plain(weight, fake_mode, x) or weight.dim() != 2 or not x.dim() or x.shape[-1] != weight.shape[1]:
        return None
    if bias is not None and (not _is_plain(bias, fake_mode, x) or bias.shape != weight.shape[:1]):
        return None
    return (*x.shape[:-1], weight.shape[0])


def _unary(*options: str) -> Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Shape | None]:
    """A function of single entries, with keywords that change no shape."""

    def shape_of(fake_mode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape | None:
        return tuple(args[0].shape) if len(args) == 1 and kwargs.keys() <= set(options) else None

    return shape_of


def _dropout_off(fake_mode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape | None:
    """Of a dropout that drops nothing, which gives the tensor itself."""
    return tuple(args[0].shape) if not kwargs and len(args) == 3 and (args[1] == 0.0 or args[2] is False) else None


def _sum(fake_mode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape | None:
    alike = not kwargs and len(args) == 2 and _is_plain(args[1], fake_mode, args[0])
    return tuple(args[0].shape) if alike and args[0].shape == args[1].shape else None


def _layer_norm(fake_mode: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Shape | None:
    if kwargs or len(args) < 4 or not isinstance(args[1], tuple | list):
        return None
    x, shape = args[0], tuple(args[1])
    own = all(t is None or (_is_plain(t, fake_mode, x) and tuple(t.shape) == shape) for t in args[2:4])
    return tuple(x.shape) if shape and own and tuple(x.shape[-len(shape) :]) == shape else None


_RULES: Mapping[Any, Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Shape | None]] = {
    torch._C._nn.linear: _linear,
    torch.layer_norm: _layer_norm,
    torch.dropout: _dropout_off,
    torch._C._nn.gelu: _unary("approximate"),
    **dict.fromkeys((torch.add, torch.Tensor.add), _sum),
    **dict.fromkeys((torch.relu, torch.tanh, torch.sigmoid, torch._C._nn.silu), _unary()),
    **dict.fromkeys((torch.Tensor.relu, torch.Tensor.tanh, torch.Tensor.sigmoid), _unary()),
}
