"""Tensors, arrays and generators as they are now, each with the function that makes them so again."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fanin.model.kept_objects import PutBack
from fanin.model.versions import set_version

__all__ = [
    "is_generator_class",
    "keep_generator",
    "keep_memory",
    "keep_place",
    "keep_tensor",
    "keep_values_of_array",
    "same_bits",
]


# ---------------------------------------------------------------------- tensors
def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same bits: equal also where both hold the same NaN.

    Compared as integers as wide as the elements: as bytes it would take four times as long.
    """
    size = a.dtype.itemsize
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(size, torch.uint8)
    left, right = (x.detach().resolve_conj().resolve_neg().reshape(-1).contiguous().view(words) for x in (a, b))
    return torch.equal(left, right)


def keep_tensor(tensor: torch.Tensor) -> Iterator[PutBack]:
    """What puts a tensor back: its place in autograd, its memory, the numbers in it, its version counter.

    Memory is put back before numbers: a tensor that was given other memory (``p.data = ...``) gets its own again, so
    that whoever shares it (a NumPy array, another view) still does.
    """
    kind = type(tensor)
    if kind.__name__ == "FakeTensor" or tensor.device.type == "meta":
        return
    yield _keep_autograd(tensor)
    if tensor.layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc):
        yield from (kept for part in _parts(tensor) for kept in keep_tensor(part))
    elif not hasattr(kind, "__tensor_flatten__") and not tensor.is_nested:  # of wrappers, the tensors inside are kept
        yield _keep_numbers(tensor)
    if not tensor.is_inference():
        yield _keep_version(tensor)


def keep_memory(tensor: torch.Tensor) -> Iterator[PutBack]:
    """What gives a tensor its own memory again, for work that only ever writes into stand-ins.

    ``tensor.set_(...)`` reaches the tensor itself: torch does not let it be intercepted.
    """
    if tensor.device.type == "meta" or tensor.layout is not torch.strided or not _is_plain(tensor):
        return
    own, version = tensor.detach(), tensor._version
    geometry = _geometry(own)

    def put_back() -> bool:
        if _geometry(tensor) != geometry:
            tensor.data = own
            set_version(tensor, version)
        return True

    yield put_back


def keep_place(tensor: torch.Tensor) -> Iterator[PutBack]:
    """What puts back everything of a tensor but its numbers, which somebody else looks after."""
    yield _keep_autograd(tensor)
    yield from keep_memory(tensor)
    if not tensor.is_inference():
        yield _keep_version(tensor)


def _is_plain(tensor: torch.Tensor) -> bool:
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and not (tensor.is_inference() or tensor.is_nested)


def _parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The strided tensors that a sparse one consists of."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    columns = tensor.layout in (torch.sparse_csc, torch.sparse_bsc)
    first = (tensor.ccol_indices(), tensor.row_indices()) if columns else (tensor.crow_indices(), tensor.col_indices())
    return *first, tensor.values().detach()


def _keep_autograd(tensor: torch.Tensor) -> PutBack:
    wanted, function, hooks = tensor.requires_grad, tensor.grad_fn, tensor._backward_hooks
    grad = tensor.grad if tensor.is_leaf else None

    def put_back() -> bool:
        if tensor.grad_fn is not function:
            if function is not None:
                return False
            tensor.detach_()
        if tensor.is_leaf and tensor.requires_grad != wanted:
            tensor.requires_grad_(wanted)
        if tensor.is_leaf and tensor.grad is not grad:
            tensor.grad = grad
        if tensor._backward_hooks is not hooks:
            tensor._backward_hooks = hooks
        return True

    return put_back


def _keep_numbers(tensor: torch.Tensor) -> PutBack:
    own = tensor.detach()  # shares the memory, and so keeps it alive
    geometry, size, address = _geometry(own), own.untyped_storage().nbytes(), _address(own)
    saved = own.clone()
    quantised = tensor.is_quantized

    def put_back() -> bool:
        if own.untyped_storage().nbytes() != size:
            own.untyped_storage().resize_(size)
        if _geometry(own) != geometry:
            own.as_strided_(*geometry[:3])
        if _geometry(tensor) != geometry:
            tensor.data = own
        if not (torch.equal(own, saved) if quantised else same_bits(own, saved)):
            own.copy_(saved)
        return _address(own) == address  # memory that was resized is now wherever torch finds some

    return put_back


def _address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr() if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() else 0


def _geometry(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.untyped_storage()._cdata, tensor.dtype


def _keep_version(tensor: torch.Tensor) -> PutBack:
    """The counter by which a backward of the caller's notices writes: after everything is back there was none."""
    version = tensor._version

    def put_back() -> bool:
        if tensor._version != version:
            set_version(tensor, version)
        return True

    return put_back


# ---------------------------------------------------------------------- NumPy arrays
def keep_values_of_array(array: Any, *, most: int) -> PutBack | None:
    """What puts back the numbers of a NumPy array; of one larger than `most` bytes a change is only noticed."""
    import numpy as np

    if not array.flags.writeable and array.base is None:
        return None
    if array.nbytes > most:
        sample = _sampled(array)
        return lambda: _sampled(array) == sample
    saved = array.view(np.ndarray).copy()

    def put_back() -> bool:
        if array.shape != saved.shape:
            array.resize(saved.shape, refcheck=False)
        plain = array.view(np.ndarray)  # a masked array gives and takes other numbers under its mask
        if plain.dtype.hasobject or plain.tobytes() != saved.tobytes():
            plain[...] = saved
        return True

    return put_back


def _sampled(array: Any) -> bytes:
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    return bytes(flat[:: max(1, array.size // (1 << 20))].tobytes())


# ---------------------------------------------------------------------- generators
def is_generator_class(kind: type) -> bool:
    """Whether `keep_generator` is for objects of this class."""
    if issubclass(kind, (torch.Generator, random.Random)):
        return True
    numpy = sys.modules.get("numpy")
    kinds = () if numpy is None else (numpy.random.Generator, numpy.random.BitGenerator, numpy.random.RandomState)
    return issubclass(kind, kinds)


def keep_generator(thing: Any) -> PutBack | None:
    """What puts back the state of a random generator; None for anything else."""
    if isinstance(thing, torch.Generator):
        state = thing.get_state()
        return lambda: thing.set_state(state) is not None
    if isinstance(thing, random.Random):
        return None if isinstance(thing, random.SystemRandom) else _setter(thing.setstate, thing.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(thing, numpy.random.Generator):
        thing = thing.bit_generator
    if isinstance(thing, numpy.random.BitGenerator):
        return _setter(lambda state: setattr(thing, "state", state), thing.state)
    if isinstance(thing, numpy.random.RandomState):
        return _setter(thing.set_state, thing.get_state(legacy=False))
    return None


def _setter(write: Callable[[Any], Any], state: Any) -> PutBack:
    def put_back() -> bool:
        write(state)
        return True

    return put_back
