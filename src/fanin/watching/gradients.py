"""Whether a training loop clears its gradients between two steps of the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fanin.watching.rows import local_values, strided

__all__ = ["Clearing"]


class Clearing:
    """Looks at one weight's gradient each time that a backward pass adds to it, in steps that are measured.

    The gradient was cleared if it was empty or zero at one of these times at least. A loop that computes gradients
    itself and writes them over the old ones adds nothing, and is not judged.
    """

    def __init__(self, weights: Sequence[torch.nn.Parameter]) -> None:
        plain = [p for p in weights if p.requires_grad and type(p) is torch.nn.Parameter]
        self._weight = min(plain, key=lambda p: (p.dim() < 2, p.numel()), default=None)
        self._handles: list[Any] = []
        self._found: bool | torch.Tensor = False
        self._seen: list[bool | torch.Tensor] = []

    def open(self) -> None:
        """Put the hooks on."""
        self.close()
        if self._weight is not None and self._weight.requires_grad:
            self._handles = [
                self._weight.register_hook(self._before),  # type: ignore[no-untyped-call]
                self._weight.register_post_accumulate_grad_hook(self._after),  # type: ignore[no-untyped-call]
            ]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._seen = []

    def taken(self) -> list[bool | torch.Tensor]:
        """For each time that something was added since the last call: whether something was there already."""
        seen, self._seen = self._seen, []
        return seen

    def _before(self, _: torch.Tensor) -> None:
        held = self._weight.grad if self._weight is not None else None
        if held is None or held.layout is not torch.strided:
            self._found = False
        else:
            self._found = strided(local_values(held)).any()

    def _after(self, _: torch.Tensor) -> None:
        self._seen.append(self._found)
