"""Refuse matrix products of two dtypes, which torch refuses and its fake kernels let pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

__all__ = ["refuse_mixed_dtypes"]

# operation -> places of the tensors that must have one dtype; the fake kernels of all others refuse by themselves
_FACTORS: Mapping[str, tuple[int, int]] = {
    "linear": (0, 1),
    "matmul": (0, 1),
    "mm": (0, 1),
    "mv": (0, 1),
    "bmm": (0, 1),  # the fake kernels of older torch let these two pass as well
    "baddbmm": (1, 2),
    "addmm": (1, 2),
    "addmv": (1, 2),
    "gru_cell": (0, 2),
    "lstm_cell": (0, 2),
    "rnn_tanh_cell": (0, 2),
    "rnn_relu_cell": (0, 2),
}


def refuse_mixed_dtypes(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise what torch raises where a product's two tensors differ in dtype.

    Tensors of other classes (quantised weights) and what runs under autocast are left to torch.

    Raises:
        RuntimeError: the dtypes differ.

    Example:
        >>> refuse_mixed_dtypes("linear", (torch.zeros(2, 3), torch.zeros(4, 3)), {})
    """
    places = _FACTORS.get(name)
    if places is None:
        return
    factors = [_at(args, kwargs, place) for place in places]
    if not all(_is_plain(factor) for factor in factors):
        return
    one, other = factors
    if one.dtype != other.dtype and not torch.is_autocast_enabled(one.device.type):
        raise RuntimeError(f"{name} needs tensors of one dtype, but got {one.dtype} and {other.dtype}")


_NAMED = {1: "weight"}  # the argument that callers give by name


def _at(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int) -> Any:
    return args[place] if place < len(args) else kwargs.get(_NAMED.get(place, ""))


def _is_plain(value: Any) -> bool:
    return type(value) in (torch.Tensor, torch.nn.Parameter, FakeTensor)
