"""The same few entries of every weight, and of its gradient, as rows of one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fanin.watching.sizes import ENTRIES

__all__ = ["Rows", "local_values", "strided"]

_NOWHERE = -2


class Rows:
    """At most 1,024 entries of each weight; zeros fill short rows.

    Attributes:
        counts: how many entries of each row belong to its weight.
        device: that of the first weight.
    """

    def __init__(self, weights: Sequence[torch.nn.Parameter]) -> None:
        self._weights = list(weights)
        self._places = [_NOWHERE] * len(self._weights)
        self._views = [torch.empty(0)] * len(self._weights)
        self.device = self._weights[0].device if self._weights else torch.device("cpu")
        self._apart = False
        self._find()
        self.counts = [len(view) for view in self._views]
        self._zeros: dict[int, torch.Tensor] = {}

    def write_weights(self, rows: torch.Tensor) -> None:
        """A row for each weight.

        Args:
            rows: float32, contiguous, of as many rows as there are weights.
        """
        self._find()
        self._write(self._views, rows)

    def write_weights_and_gradients(self, rows: torch.Tensor) -> None:
        """A row for each weight, then one for each gradient: zeros where there is none that is a dense tensor.

        Args:
            rows: float32, contiguous, of twice as many rows as there are weights.
        """
        self._find()
        nothing = self._zeros_of(0)
        self._write([*self._views, *(_gradient(p, nothing) for p in self._weights)], rows)

    def _find(self) -> None:
        """Look where the weights are in memory."""
        for i, p in enumerate(self._weights):
            if self._places[i] != _place(p):
                self._places[i], self._views[i] = _view(p)
                self._apart = any(view.device != self.device for view in self._views)

    def _write(self, parts: Sequence[torch.Tensor], rows: torch.Tensor) -> None:
        if self._apart:
            parts = [part.to(self.device) for part in parts]
        pieces: list[torch.Tensor] = []
        for part in parts:
            pieces.append(part)
            if (count := part.numel()) < ENTRIES:
                pieces.append(self._zeros_of(ENTRIES - count))
        if pieces:
            torch.cat(pieces, out=rows.view(-1))

    def _zeros_of(self, count: int) -> torch.Tensor:
        if count not in self._zeros:
            self._zeros[count] = torch.zeros(count, device=self.device)
        return self._zeros[count]


def _place(p: torch.nn.Parameter) -> int:
    """Where a plain parameter is in memory; -1 for one that is spread over processes or holds no data."""
    return p.data_ptr() or -1 if type(p) is torch.nn.Parameter else -1


def _view(p: torch.nn.Parameter) -> tuple[int, torch.Tensor]:
    """(where it is in memory, its entries); the place is unknown where the entries are a copy."""
    entries = strided(local_values(p))
    alive = _place(p) != -1 and entries.untyped_storage().data_ptr() == p.untyped_storage().data_ptr()
    return _place(p) if alive else _NOWHERE, entries


def local_values(tensor: Any) -> torch.Tensor:
    """The data on this process, of a tensor that may be spread over several."""
    tensor = tensor.detach()
    local: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """At most 1,024 entries at an odd stride, so that no power of two of columns is met again and again."""
    flat = tensor if tensor.is_contiguous() else _flat(tensor)
    count = flat.numel()
    step = max(count // ENTRIES, 1) | 1
    return flat.as_strided((min(-(-count // step), ENTRIES),), (step,))  # one operation, no copy


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Entries in the order of memory where they fill it without gaps; a copy elsewhere."""
    order = sorted(range(tensor.dim()), key=lambda d: -int(tensor.stride()[d]))
    dense = tensor.permute(order)
    return dense.reshape(-1)  # no copy where the permuted tensor is contiguous


def _gradient(p: torch.nn.Parameter, nothing: torch.Tensor) -> torch.Tensor:
    """The same entries of the gradient; nothing where there is none, or one that is no plain tensor."""
    gradient = p.grad
    if gradient is None or gradient.layout is not torch.strided:
        return nothing
    plain = type(gradient) is torch.Tensor and not gradient.requires_grad
    return strided(gradient if plain else local_values(gradient))
