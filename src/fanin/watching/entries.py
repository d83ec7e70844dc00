"""A few entries of every weight matrix: how far they move in a step and since the start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fanin.model.wrappers import named_modules, named_parameters

__all__ = ["Entries", "Moves", "followed"]

_ENTRIES = 2048  # of a matrix; the relative error of an rms is 1 / sqrt(2 * 2048) = 1.6 %
_TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
_ZERO = 1e-3  # of 1 / sqrt(fan_in): a matrix whose rms is below it counts as one that starts at zero


@dataclass(frozen=True, slots=True)
class Moves:
    """What one step did to the followed weights, still on their device.

    Attributes:
        sums: shape (5, weights): sums of squares of the change in the step, of the change since the start, and of the
            weights before the step; numbers of entries of the weights and of the gradients that are not finite.
    """

    sums: torch.Tensor


def followed(model: torch.nn.Module, optimizers: Iterable[Any]) -> list[tuple[str, torch.nn.Parameter]]:
    """The matrices that the optimizers train, by name; embedding tables only where there is nothing else."""
    trained = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    tables = {id(p) for _, m in named_modules(model) if isinstance(m, _TABLES) for p in m.parameters(recurse=False)}
    found: dict[int, tuple[str, torch.nn.Parameter]] = {}
    for name, p in named_parameters(model):
        if (
            id(p) in trained
            and p.requires_grad
            and p.dim() >= 2
            and p.is_floating_point()
            and p.layout is torch.strided
        ):
            found.setdefault(id(p), (name, p))
    maps = [entry for key, entry in found.items() if key not in tables]
    return maps or list(found.values())


class Entries:
    """Strided entries of some weights: where they started, and where they were before a step."""

    def __init__(self, weights: Sequence[tuple[str, torch.nn.Parameter]]) -> None:
        self.names = tuple(name for name, _ in weights)
        self._weights = [p for _, p in weights]
        self._start = self._values()
        counts = [len(_strided(_local(p))) for p in self._weights]
        self._counts = counts
        places = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long))
        self._places = places.to(self._start.device)
        self._scales: list[float] | None = None
        self._before = self._start

    def matches(self, weights: Sequence[tuple[str, torch.nn.Parameter]]) -> bool:
        """Whether these are the weights that are followed."""
        return len(weights) == len(self._weights) and all(
            p is q for (_, p), q in zip(weights, self._weights, strict=True)
        )

    def before_step(self) -> None:
        """Remember where the weights are."""
        self._before = self._values()

    def after_step(self) -> Moves:
        """What the step did; nothing is read from the device yet."""
        now, before = self._values(), self._before
        bad_gradients = self._gathered([_gradient(p) for p in self._weights]).isfinite().logical_not()
        rows = (now - before, now - self._start, before)
        table = torch.stack(
            [*(row.square() for row in rows), now.isfinite().logical_not().float(), bad_gradients.float()]
        )
        sums = torch.zeros(len(table), len(self._counts), device=now.device)
        return Moves(sums.index_add_(1, self._places, table))

    def ratios(self, moves: Moves) -> tuple[tuple[float | None, ...], tuple[float | None, ...], str]:
        """(update / weight, distance / initial weight, the first name with NaN or infinity), one a weight."""
        step, moved, before, bad, bad_gradients = (row for row in moves.sums.double().tolist())
        scales = self._initial()
        updates, distances = [], []
        for i, count in enumerate(self._counts):
            size = math.sqrt(before[i] / count) if count and math.isfinite(before[i]) else math.nan
            updates.append(_ratio(step[i], count, size if size > _ZERO * self._planned(i) else self._planned(i)))
            distances.append(_ratio(moved[i], count, scales[i]))
        lost = [f"gradient of {n}" for n, b in zip(self.names, bad_gradients, strict=True) if b]
        lost += [n for n, b in zip(self.names, bad, strict=True) if b]
        return tuple(updates), tuple(distances), lost[0] if lost else ""

    def _initial(self) -> list[float]:
        """Size of each weight at the start; 1 / sqrt(fan_in) where that is zero."""
        if self._scales is None:
            sums = torch.zeros(len(self._counts), device=self._start.device)
            squares = sums.index_add_(0, self._places, self._start.square()).double().tolist()
            sizes = [
                math.sqrt(s / c) if c and math.isfinite(s) else math.nan
                for s, c in zip(squares, self._counts, strict=True)
            ]
            self._scales = [s if s > _ZERO * self._planned(i) else self._planned(i) for i, s in enumerate(sizes)]
        return self._scales

    def _planned(self, place: int) -> float:
        """1 / sqrt(fan_in), the std of a matrix that keeps the size of its input."""
        p = self._weights[place]
        return 1.0 / math.sqrt(max(p.numel() // max(p.shape[0], 1), 1))

    def _values(self) -> torch.Tensor:
        return self._gathered([_strided(_local(p)) for p in self._weights])

    def _gathered(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """All entries in one tensor of float32 on the device of the first weight."""
        if not parts:
            return torch.zeros(0)
        place = parts[0].device
        return torch.cat([part.to(place, torch.float32) for part in parts])


def _ratio(square: float, count: int, size: float) -> float | None:
    value = math.sqrt(square / count) / size if count and square >= 0 and size > 0 else math.nan
    return value if math.isfinite(value) else None


def _local(tensor: Any) -> torch.Tensor:
    """The data on this process, of a tensor that may be spread over several."""
    tensor = tensor.detach()
    local: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def _strided(tensor: torch.Tensor) -> torch.Tensor:
    """At most 2,048 entries at an odd stride, so that no power of two of columns is met again and again."""
    flat = tensor.view(-1) if tensor.is_contiguous() else _flat(tensor)
    return flat[:: max(len(flat) // _ENTRIES, 1) | 1][:_ENTRIES]


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Entries in the order of memory where they fill it without gaps; a copy elsewhere."""
    order = sorted(range(tensor.dim()), key=lambda d: -int(tensor.stride()[d]))
    dense = tensor.permute(order)
    return dense.reshape(-1)  # no copy where the permuted tensor is contiguous


def _gradient(p: torch.nn.Parameter) -> torch.Tensor:
    """The same entries of the gradient; zeros where there is none, or one that is no plain tensor."""
    gradient = p.grad
    entries = _strided(_local(p))
    if gradient is None or gradient.layout is not torch.strided:
        return torch.zeros_like(entries, dtype=torch.float32)
    return _strided(_local(gradient))
