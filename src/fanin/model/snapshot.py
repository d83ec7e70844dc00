"""Measuring leaves no trace: everything a forward and backward may touch, put back bit for bit."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator

import torch

from fanin.model import untouched as traceless
from fanin.tensors.values import readable

__all__ = ["untouched"]


@contextlib.contextmanager
def untouched(model: torch.nn.Module, *, seed: int) -> Iterator[None]:
    """Everything of the model and of the random generators is as before when this ends.

    Also after an exception or Ctrl-C.

    Covers parameters, buffers, `.grad`, hooks, training flags and every other attribute of every module (containers one
    level deep), the random state of torch (CPU and initialised accelerators), NumPy and Python, and autocast's weight
    cache. Inside, all generators start from `seed`. Parameters and buffers are kept as a copy, so this costs the
    weights' memory once.
    """
    restore = [_values(model), _gradients(model)]
    with traceless.untouched(model):
        _seed(seed)
        try:
            yield
        finally:
            torch.clear_autocast_cache()
            for put_back in restore:
                put_back()


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal also where both hold the same NaN.

    Compared as integers as wide as the elements: as bytes it would take four times as long.
    """
    size = a.dtype.itemsize
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(size, torch.uint8)
    left, right = (x.detach().reshape(-1).contiguous().view(words) for x in (a, b))
    return torch.equal(left, right)


def _plain(x: torch.Tensor) -> bool:
    return x.device.type != "meta" and readable(x)


def _values(model: torch.nn.Module) -> Callable[[], None]:
    kept = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers()) if _plain(t)]
    pointers = [t.data_ptr() for t, _ in kept]

    def put_back() -> None:
        # A write through `.data` leaves the version counter alone, so values are compared, not versions.
        for (live, saved), pointer in zip(kept, pointers, strict=True):
            if live.data_ptr() != pointer or live.shape != saved.shape:
                live.data = saved
            elif not _same_bits(live, saved):
                live.data.copy_(saved)

    return put_back


def _gradients(model: torch.nn.Module) -> Callable[[], None]:
    kept = [(p, p.grad, None if p.grad is None else p.grad.clone(), p.requires_grad) for p in model.parameters()]

    def put_back() -> None:
        for p, grad, saved, requires_grad in kept:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
            if grad is not None and saved is not None and _plain(grad) and not _same_bits(grad, saved):
                grad.data.copy_(saved)
            if p.grad is not grad:
                p.grad = grad

    return put_back


def _seed(seed: int) -> None:
    # Not torch.manual_seed: with CUDA not yet initialised it would leave a seed waiting for that moment.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(seed % 2**32)  # noqa: NPY002 (the legacy generator is the one that models draw from)
