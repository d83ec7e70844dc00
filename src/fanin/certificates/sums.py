"""The sums of one torch tensor, or of the part of one that this process holds, piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fanin.certificates.lanes import LOW, Lanes, add, lanes_at, lanes_of_words, word_bytes
from fanin.memory import as_array
from fanin.streams.boxes import Box
from fanin.streams.cpu import default_threads
from fanin.tensors.holdings import Part

if TYPE_CHECKING:
    import torch

__all__ = ["lanes_of_tensor", "lanes_on_device"]

_CHUNK = 1 << 20  # elements of one task: what is copied, where it must be, stays small


def lanes_of_tensor(local: torch.Tensor, part: Part, key: npt.NDArray[np.int64]) -> Lanes:
    """The lanes of what this process holds of a tensor.

    The tensor is only read. On the CPU nothing is copied where its memory is contiguous, else a million elements at a
    time; on another device the sums are made there.

    Args:
        local: the plain tensor of this process.
        part: which elements of the whole it holds.
        key: of `lane_key`.

    Example:
        >>> import torch
        >>> from fanin.certificates.lanes import lane_key
        >>> from fanin.tensors.holdings import holdings
        >>> x, key = torch.arange(6.0).reshape(2, 3), lane_key("w", "float32", (2, 3))
        >>> lanes_of_tensor(x, holdings(x), key) == lanes_of_tensor(x.t().contiguous().t(), holdings(x), key)
        True
    """
    local = local.detach().resolve_conj().resolve_neg()
    chunks = [c for piece in part.pieces() for c in _chunks(local[piece.here], piece.box)]
    threads = min(default_threads(), len(chunks)) if local.device.type == "cpu" else 1
    if threads < 2:
        return add([_lanes(tensor, box, key) for tensor, box in chunks])
    with ThreadPoolExecutor(threads) as pool:
        return add(list(pool.map(lambda chunk: _lanes(chunk[0], chunk[1], key), chunks)))


def _chunks(tensor: torch.Tensor, box: Box) -> Iterator[tuple[torch.Tensor, Box]]:
    """Pieces of a bounded size, cut along the first axes."""
    if tensor.numel() <= _CHUNK:
        if tensor.numel():
            yield tensor, box
        return
    axis = next(axis for axis, n in enumerate(tensor.shape) if n > 1)
    rows = max(1, _CHUNK * tensor.shape[axis] // tensor.numel())
    for first in range(0, tensor.shape[axis], rows):
        count = min(rows, tensor.shape[axis] - first)
        shape = (*box.shape[:axis], count, *box.shape[axis + 1 :])
        inner = replace(box, shape=shape, start=box.start + first * box.strides[axis])
        yield from _chunks(tensor.narrow(axis, first, count), inner)


def _lanes(tensor: torch.Tensor, box: Box, key: npt.NDArray[np.int64]) -> Lanes:
    starts, length = _rows(box)
    flat, size = tensor.contiguous().reshape(-1), tensor.element_size()
    width = word_bytes(size)
    words = size // width
    if tensor.device.type == "cpu":
        memory = as_array(_as_bytes(flat)).view(f"u{width}")
        return lanes_of_words(memory, starts * words, length * words, key)
    return lanes_on_device(flat, starts * words, length * words, width, key)


def _rows(box: Box) -> tuple[npt.NDArray[np.int64], int]:
    """Where runs of consecutive indices start, and how long each is."""
    axis = len(box.shape)
    while axis and (box.shape[axis - 1] == 1 or box.strides[axis - 1] == math.prod(box.shape[axis:])):
        axis -= 1
    outer = Box(box.shape[:axis], box.strides[:axis], box.start)
    return outer.indices().astype(np.int64), math.prod(box.shape[axis:])


def _as_bytes(flat: torch.Tensor) -> Any:
    import torch

    return flat.view(torch.uint8)


def lanes_on_device(
    flat: torch.Tensor, starts: npt.NDArray[np.int64], length: int, width: int, key: npt.NDArray[np.int64]
) -> Lanes:
    """`lanes_of_words` by torch's operations, on the device of a flat tensor; `width` is the bytes of a word.

    Example:
        >>> import torch
        >>> from fanin.certificates.lanes import lane_key
        >>> key, start = lane_key("w", "float32", (3,)), np.zeros(1, np.int64)
        >>> words = torch.arange(3, dtype=torch.int32)
        >>> lanes_on_device(words, start, 3, 4, key) == lanes_of_words(np.arange(3, dtype=np.uint32), start, 3, key)
        True
    """
    import torch

    signed = {1: torch.int8, 2: torch.int16, 4: torch.int32}[width]
    words = flat.view(signed).to(torch.int64) & (LOW >> (32 - 8 * width))
    place = torch.arange(words.numel(), device=flat.device)
    index = torch.from_numpy(starts).to(flat.device)[place // length] + place % length
    return lanes_at(words, index, key)
