"""Memory: NumPy's view of a tensor, which leaves the tensor as it was, and a pause of garbage collection."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError

__all__ = ["as_array", "uncollected"]


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection inside: for work that makes many objects and drops few, where collecting is wasted time.

    Example:
        >>> with uncollected():
        ...     gc.isenabled()
        False
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def as_array(tensor: Any) -> npt.NDArray[Any]:
    """A CPU tensor as an array on the same memory, whatever its strides.

    Not ``Tensor.numpy()``, which forbids for good to resize the tensor's storage, as sharded training does to free it.

    Args:
        tensor: strided, on the CPU, of a dtype that NumPy has too (bfloat16: view it as int16 first).

    Returns:
        An array of the tensor's shape, which keeps the tensor's memory alive.

    Raises:
        ArgumentError: a dtype that NumPy lacks.

    Example:
        >>> import torch
        >>> x = torch.arange(6.0).reshape(2, 3)
        >>> as_array(x.t())[2]
        array([2., 5.], dtype=float32)
        >>> x.untyped_storage().resizable()
        True
    """
    tensor = tensor.detach().resolve_conj().resolve_neg()
    dtype = _dtype(str(tensor.dtype).removeprefix("torch."))
    if not tensor.numel():
        return np.empty(tuple(tensor.shape), dtype)
    return np.asarray(_Memory(tensor, dtype))


def _dtype(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype("V")
    if dtype.kind == "V":  # also what other packages teach NumPy: it cannot be told to share memory of that kind
        raise ArgumentError(f"NumPy has no dtype {name}. View the tensor as integers of its width first.")
    return dtype


class _Memory:
    """What NumPy asks of an object whose memory it is to share; it keeps the object, and so the tensor."""

    def __init__(self, tensor: Any, dtype: np.dtype[Any]) -> None:
        self.owner = tensor
        self.__array_interface__ = {
            "version": 3,
            "data": (tensor.data_ptr(), False),
            "shape": tuple(tensor.shape),
            "strides": tuple(step * dtype.itemsize for step in tensor.stride()),
            "typestr": dtype.str,
        }
