"""A few entries of every weight matrix: how far they move in a step and since the start, and what else moves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fanin.model.foreign import parameter_names
from fanin.model.wrappers import named_modules, named_parameters
from fanin.watching.sizes import size_now, size_of_start

__all__ = ["Entries", "Followed", "Moves", "Ratios", "followed", "left_out", "local_values", "strided", "trained"]

_ENTRIES = 1024  # of a matrix; the relative error of an rms is 1 / sqrt(2 * 1024) = 2.2 %
_TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
_NOWHERE = -2
_SHARED = 8  # entries of exactly the same size: no chance
_SETTLED = 3  # steps, from which on the directions of gradients are compared
_TINY = 1e-30
_Weights = Sequence[tuple[str, torch.nn.Parameter]]


@dataclass(frozen=True, slots=True)
class Followed:
    """The matrices to follow.

    Attributes:
        of: by name, those that each optimizer trains; a weight of two optimizers counts for the first.
        foreign: whether no optimizer holds a trained parameter of the model; the model's own ones are followed then.
    """

    of: tuple[list[tuple[str, torch.nn.Parameter]], ...]
    foreign: bool = False


def followed(model: torch.nn.Module, optimizers: Sequence[Any]) -> Followed:
    """The matrices that the optimizers train; embedding tables, and then vectors, only where there is nothing else."""
    owners: dict[int, int] = {}
    for place, optimizer in enumerate(optimizers):
        for p in trained(optimizer):
            owners.setdefault(id(p), place)
    own = parameter_names(model)
    named = [(own.get(id(p), name), p) for name, p in named_parameters(model)]
    everything = list({id(p): (name, p) for name, p in reversed(named)}.values())[::-1]
    learns = [(name, p) for name, p in everything if p.requires_grad]
    foreign = bool(learns) and not any(id(p) in owners for _, p in learns)
    mine = [(name, p) for name, p in learns if _is_plain(p) and (foreign or id(p) in owners)]
    mine = [(name, p) for name, p in mine if p.dim() >= 2] or mine
    tables = {id(p) for _, m in named_modules(model) if isinstance(m, _TABLES) for p in m.parameters(recurse=False)}
    mine = [(name, p) for name, p in mine if id(p) not in tables] or mine
    groups: tuple[list[tuple[str, torch.nn.Parameter]], ...] = tuple([] for _ in optimizers)
    for name, p in mine:
        groups[owners.get(id(p), 0)].append((name, p))
    return Followed(groups, foreign)


def left_out(model: torch.nn.Module, optimizers: Sequence[Any]) -> tuple[str, ...]:
    """Trainable parameters that have a gradient and that no optimizer holds."""
    held = {id(p) for optimizer in optimizers for p in trained(optimizer)}
    own = parameter_names(model)
    loose = [(name, p) for name, p in named_parameters(model) if p.requires_grad and id(p) not in held]
    return tuple(dict.fromkeys(own.get(id(p), name) for name, p in loose if p.grad is not None))


def trained(optimizer: Any) -> list[torch.nn.Parameter]:
    """What an optimizer trains."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _is_plain(p: torch.nn.Parameter) -> bool:
    return p.dim() >= 1 and p.is_floating_point() and p.layout is torch.strided


@dataclass(frozen=True, slots=True)
class Moves:
    """What one step did to the followed weights, still on their device.

    Attributes:
        sizes: shape (8, weights): Euclidean norms of the change in the step, of the change since the start, of the
            weights before the step, of the change between the measured step before and this one, and of the gradient;
            sums of the weights and of the gradients, which are finite where all entries are; inner products of the
            gradient and the sum of earlier ones, each of length one.
        outside: the entries that the fourth norm is of, and the weights before and after that change: needed where it
            is not zero.
        skipped: steps between the measured one before and this one; None where there is none before.
        summed: how many gradients the sum is of.
    """

    sizes: torch.Tensor
    outside: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    skipped: int | None
    summed: int


@dataclass(frozen=True, slots=True)
class Ratios:
    """Sizes relative to the weights, as in `StepRecord`; `lost` is the first name with NaN or infinity.

    Attributes:
        turns: mean cosine of the gradient and those of earlier measured steps from the third on, one a weight.
        decays: what weight decay changes over what the loss changes, one a weight.
        repeated: whether each gradient is as large as that of the step before, to the bit, and the weights have moved.
        restored: whether something put all weights back to where they started.
    """

    updates: tuple[float | None, ...] = ()
    distances: tuple[float | None, ...] = ()
    outside: tuple[float | None, ...] = ()
    turns: tuple[float | None, ...] = ()
    decays: tuple[float | None, ...] = ()
    lost: str = ""
    repeated: bool = False
    restored: bool = False

    def __add__(self, other: Ratios) -> Ratios:
        return Ratios(
            self.updates + other.updates,
            self.distances + other.distances,
            self.outside + other.outside,
            self.turns + other.turns,
            self.decays + other.decays,
            self.lost or other.lost,
            self.repeated or other.repeated,
            self.restored or other.restored,
        )


class Entries:
    """Strided entries of some weights: where they started, and where they were before a step.

    Args:
        weights: by name.
        optimizer: what trains them.
        foreign: whether no optimizer holds them; a step then lasts from one call of `after_step` to the next.
    """

    def __init__(self, weights: _Weights, optimizer: Any = None, *, foreign: bool = False) -> None:
        self.names = tuple(name for name, _ in weights)
        self._weights, self._foreign = [p for _, p in weights], foreign
        self._views: list[tuple[int, torch.Tensor]] = [(_NOWHERE, torch.empty(0))] * len(weights)
        self._start = self._values()
        self._counts = [len(view) for _, view in self._views]
        self._scales: list[float] | None = None
        self._largest = [0.0] * len(weights)
        self._before = self._earlier = self._after = self._start
        groups = {id(p): group for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
        self._groups = [groups.get(id(p), {}) for p in self._weights]
        self._added = _adds_decay(optimizer)
        self._directions, self._summed = torch.zeros_like(self._start), 0
        self._sizes: list[float] = []
        self._read: Moves | None = None
        self._after_number = -1

    def before_step(self) -> None:
        """Remember where the weights are."""
        if not self._foreign:
            self._before = self._values()

    def after_step(self, number: int) -> Moves:
        """What the step of this number did; nothing is read from the device yet."""
        before, count = self._before, len(self._weights)
        known = self._after_number > 0 and not self._foreign
        both = self._gathered([*self._seen(), *map(_gradient, self._weights)])
        now, gradients = both[:count], both[count:]
        outside = before - self._after if known else torch.zeros_like(now)
        moved = torch.stack((now - before, now - self._start, before, outside, gradients))
        norms = torch.linalg.vector_norm(moved, dim=2)
        turned = (gradients * self._directions).sum(1).view(1, count)
        sizes = torch.cat((norms, both.sum(1).view(2, count), turned))
        summed = self._summed
        if number >= _SETTLED:
            self._directions.add_(gradients / norms[4].clamp_min(_TINY)[:, None])
            self._summed += 1
        skipped = number - 1 - self._after_number if known else None
        moves = Moves(sizes, (outside, self._earlier, before), skipped, summed)
        self._earlier, self._after, self._after_number = before, now, number
        if self._foreign:
            self._before = now
        return moves

    def ratios(self, moves: Moves | None) -> Ratios:
        """The sizes of the changes relative to the weights; unknown where no step was measured yet."""
        if moves is None:
            unknown = (None,) * len(self.names)
            return Ratios(unknown, unknown, unknown, unknown, unknown)
        step, moved, before, outside, sizes, values, gradients, products = moves.sizes.tolist()
        turns = tuple(_ratio_of(p, size * moves.summed) for p, size in zip(products, sizes, strict=True))
        new = moves is not self._read  # an optimizer that did not step since shows its last step again
        repeated = new and moves.skipped == 0 and any(step) and any(sizes) and sizes == self._sizes
        self._sizes, self._read = sizes, moves
        restored = any(outside) and bool((moves.outside[2] == self._start).all())
        if any(outside):
            outside = torch.linalg.vector_norm(_unmasked(*moves.outside), dim=1).tolist()
        scales = self._initial()
        now = [size_now(size, self._planned(i)) for i, size in enumerate(map(_rms, before, self._counts))]
        lost = [f"gradient of {n}" for n, s in zip(self.names, gradients, strict=True) if not math.isfinite(s)]
        lost += [n for n, s in zip(self.names, values, strict=True) if not math.isfinite(s)]
        updates = tuple(map(_ratio, step, self._counts, now))
        self._largest = [max(u or 0.0, e) for u, e in zip(updates, self._largest, strict=True)]
        between = tuple(map(_ratio, outside, self._counts, now))
        return Ratios(
            updates,
            tuple(map(_ratio, moved, self._counts, scales)),
            tuple(_beyond(b, largest, moves.skipped) for b, largest in zip(between, self._largest, strict=True)),
            turns,
            tuple(map(self._decay, range(len(sizes)), before, step, sizes)),
            lost[0] if lost else "",
            repeated,
            restored,
        )

    def _decay(self, place: int, weight: float, step: float, gradient: float) -> float | None:
        """What weight decay changes over what the loss changes; None where there is no decay, or no gradient."""
        group = self._groups[place]
        decay = group.get("weight_decay")
        if not isinstance(decay, float | int) or not decay > 0 or not gradient > 0 or not math.isfinite(gradient):
            return None
        if self._added and not group.get("decoupled_weight_decay"):
            return decay * weight / gradient
        taken = float(group.get("lr") or 0.0) * decay * weight
        return taken / max(step - taken, 1e-3 * taken) if taken > 0 else None

    def _initial(self) -> list[float]:
        """Size of each weight at the start, or what it counts as."""
        if self._scales is None:
            norms = torch.linalg.vector_norm(self._start, dim=1).tolist()
            sizes = map(_rms, norms, self._counts)
            self._scales = [size_of_start(s, self._planned(i)) for i, s in enumerate(sizes)]
        return self._scales

    def _planned(self, place: int) -> float:
        """1 / sqrt(fan_in), the std of a matrix that keeps the size of its input."""
        p = self._weights[place]
        return 1.0 / math.sqrt(max(p.numel() // max(p.shape[0], 1), 1))

    def _values(self) -> torch.Tensor:
        return self._gathered(self._seen())

    def _seen(self) -> list[torch.Tensor]:
        """The entries of each weight, where they are now."""
        for i, p in enumerate(self._weights):
            if self._views[i][0] != _place(p):
                self._views[i] = _view(p)
        return [view for _, view in self._views]

    def _gathered(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """A row of 1,024 numbers for each part, float32 on the device of the first weight; zeros fill short ones."""
        if not parts:
            return torch.zeros(0, _ENTRIES)
        first = parts[0]
        if not all(part.dtype == first.dtype and part.device == first.device for part in parts):
            parts = [part.to(first.device, torch.float32) for part in parts]
        zeros = parts[0].new_zeros(_ENTRIES)
        filled = [piece for part in parts for piece in (part, zeros[len(part) :]) if len(piece)]
        return torch.cat(filled).view(len(parts), _ENTRIES).float()


def _place(p: torch.nn.Parameter) -> int:
    """Where a plain parameter is in memory; -1 for one that is spread over processes or holds no data."""
    return p.data_ptr() or -1 if type(p) is torch.nn.Parameter else -1


def _view(p: torch.nn.Parameter) -> tuple[int, torch.Tensor]:
    """(where it is in memory, its entries); the place is unknown where the entries are a copy."""
    entries = strided(local_values(p))
    alive = _place(p) != -1 and entries.untyped_storage().data_ptr() == p.untyped_storage().data_ptr()
    return _place(p) if alive else _NOWHERE, entries


def _unmasked(change: torch.Tensor, before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """The change without entries that are put back to zero after every step, or to a bound that many share.

    Masks of pruned weights do the first, weights that are clipped the second.
    """
    bound = now.abs()
    at_bound = (bound == bound.amax(1, keepdim=True)) & (bound > 0)
    clipped = at_bound & (at_bound.sum(1, keepdim=True) >= _SHARED)
    return change * ((before != 0) | (now != 0)) * ~clipped


def _adds_decay(optimizer: Any) -> bool:
    """Whether this optimizer of PyTorch adds the decay to the gradient; others take it off the weights."""
    return type(optimizer) in _ADDING


_ADDING = frozenset(
    getattr(torch.optim, name)
    for name in ("SGD", "Adam", "Adagrad", "Adadelta", "RMSprop", "Adamax", "ASGD", "NAdam", "RAdam")
)


def _ratio_of(product: float, length: float) -> float | None:
    return product / length if length > 0 and math.isfinite(product) and math.isfinite(length) else None


def _beyond(between: float | None, largest: float, skipped: int | None) -> float | None:
    """A change between two measured steps, less four times the largest update for each step between them."""
    return None if between is None or skipped is None else max(between - 4 * skipped * largest, 0.0)


def _rms(norm: float, count: int) -> float:
    return norm / math.sqrt(count) if count and math.isfinite(norm) else math.nan


def _ratio(norm: float, count: int, size: float) -> float | None:
    value = _rms(norm, count) / size if size > 0 else math.nan
    return value if math.isfinite(value) else None


def local_values(tensor: Any) -> torch.Tensor:
    """The data on this process, of a tensor that may be spread over several."""
    tensor = tensor.detach()
    local: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """At most 1,024 entries at an odd stride, so that no power of two of columns is met again and again."""
    flat = tensor if tensor.is_contiguous() else _flat(tensor)
    step = max(flat.numel() // _ENTRIES, 1) | 1
    return flat.as_strided((min(-(-flat.numel() // step), _ENTRIES),), (step,))  # one operation, no copy


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Entries in the order of memory where they fill it without gaps; a copy elsewhere."""
    order = sorted(range(tensor.dim()), key=lambda d: -int(tensor.stride()[d]))
    dense = tensor.permute(order)
    return dense.reshape(-1)  # no copy where the permuted tensor is contiguous


def _gradient(p: torch.nn.Parameter) -> torch.Tensor:
    """The same entries of the gradient; zeros where there is none, or one that is no plain tensor."""
    gradient = p.grad
    if gradient is None or gradient.layout is not torch.strided:
        return torch.zeros(0, dtype=p.dtype, device=p.device)
    return strided(gradient if type(gradient) is torch.Tensor else local_values(gradient))
