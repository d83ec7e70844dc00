"""Version counters of tensors, by which autograd notices writes: put back where nothing was changed in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch

__all__ = ["kept_versions", "set_version"]


def set_version(tensor: torch.Tensor, version: int) -> None:
    """Give a tensor this version counter."""
    put: Any = torch._C._autograd._unsafe_set_version_counter
    try:
        put((tensor,), (version,))
    except TypeError:  # torch 2.6 takes one tensor
        put(tensor, version)


@contextlib.contextmanager
def kept_versions(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Put the counters of these tensors back at the end: a graph recorded before can still be differentiated."""
    before = [(tensor, tensor._version) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, version in before:
            set_version(tensor, version)
