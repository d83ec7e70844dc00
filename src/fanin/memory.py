"""Memory: NumPy's view of a tensor, a pause of garbage collection, and errors that say there is too little of it."""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fanin.errors import ArgumentError

__all__ = ["as_array", "free_bytes", "processes_here", "ran_out", "uncollected"]

_DEEPEST = 20  # errors that are followed to where they come from
_NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory", "out of memory")


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


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that there is no memory left.

    torch has a class of its own for this on accelerators; on the CPU only its message says it.

    Example:
        >>> ran_out(MemoryError()), ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory")), ran_out(None)
        (True, True, False)
    """
    for _ in range(_DEEPEST):
        if error is None:
            return False
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_bytes() -> float:
    """Bytes of memory that this process may still take; infinite where the system does not say.

    The least of what the machine has available and what its group of processes (a container) may still take; Linux.
    Copies of files that the system keeps in memory count as free, since it drops them when memory is asked for.

    Example:
        >>> free_bytes() > 0
        True
    """
    found = [1024.0 * int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    limit, used, kinds = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current", "stat"))
    if limit and used and limit[0].isdecimal():
        files = sum(int(line.split()[1]) for line in kinds if line.startswith(("active_file ", "inactive_file ")))
        found.append(float(int(limit[0]) - int(used[0]) + files))
    return max(0.0, min(found, default=math.inf))


def processes_here() -> int:
    """Processes of one job that share this machine, as a launcher (torchrun) says in LOCAL_WORLD_SIZE; else 1.

    Example:
        >>> processes_here() >= 1
        True
    """
    said = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(int(said), 1) if said.isdecimal() else 1


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []


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


@functools.lru_cache(maxsize=64)
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
