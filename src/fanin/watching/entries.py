"""A few entries of every weight matrix: how far they move in a step and since the start, and what else moves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fanin.model.foreign import parameter_names
from fanin.model.wrappers import named_modules, named_parameters
from fanin.watching.decay import Decay
from fanin.watching.ratios import Ratios, Scales
from fanin.watching.rows import Rows
from fanin.watching.sizes import ENTRIES

__all__ = ["Entries", "Followed", "followed", "left_out", "trained"]

_SHARED = 8  # entries of exactly the same size: no chance
_SETTLED = 3  # steps, from which on the directions of gradients are compared
_TINY = 1e-30
_TABLES = (torch.nn.Embedding, torch.nn.EmbeddingBag)
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


class _Block:
    """Entries of all weights around one step: the steps take turns with two of these.

    Attributes:
        all: shape (6, weights, 1024), made of the others in this order.
        step: the change in the step.
        moved: the change since the start.
        outside: the change between the measured step before and this one; zeros where there is none before.
        before: the weights before the step.
        now: the weights after it.
        gradients: the gradients.
        both: the last two.
    """

    def __init__(self, weights: int, device: torch.device) -> None:
        self.all = torch.zeros(6, weights, ENTRIES, device=device)
        self.step, self.moved, self.outside, self.before, self.now, self.gradients = self.all.unbind()
        self.both = self.all[-2:]


@dataclass(frozen=True, slots=True)
class _Moves:
    """What one step did to the followed weights, still on their device.

    Attributes:
        norms: Euclidean norms of the rows of the block.
        products: inner products of the gradient and the sum of earlier ones, each of length one; None where there is
            none.
        block: what the norms are of.
        earlier: the weights before the measured step before.
        skipped: steps between the measured one before and this one; None where there is none before.
        summed: how many gradients the sum is of.
    """

    norms: torch.Tensor
    products: torch.Tensor | None
    block: _Block
    earlier: torch.Tensor
    skipped: int | None
    summed: int


class Entries:
    """Strided entries of some weights: where they started, and where they were before a step.

    Args:
        weights: by name.
        optimizer: what trains them.
        foreign: whether no optimizer holds them; a step then lasts from one call of `after_step` to the next.
    """

    def __init__(self, weights: _Weights, optimizer: Any = None, *, foreign: bool = False) -> None:
        self.names = tuple(name for name, _ in weights)
        self._parameters, self._foreign = [p for _, p in weights], foreign
        self._rows = Rows(self._parameters)
        self._decay = Decay(self._parameters, optimizer)
        self._now, self._previous = _Block(len(weights), self._rows.device), _Block(len(weights), self._rows.device)
        self._rows.write_weights(self._now.before)
        self._start = self._now.before.clone()
        self._directions, self._summed = torch.zeros_like(self._start), 0
        self._scales: Scales | None = None
        self._sizes: list[float] = []
        self._moves: _Moves | None = None
        self._read: _Moves | None = None
        self._number = -1

    def before_step(self) -> None:
        """Remember where the weights are."""
        if not self._foreign:
            self._rows.write_weights(self._now.before)

    def after_step(self, number: int) -> None:
        """Remember what the step of this number did; nothing is read from the device yet."""
        block, previous = self._now, self._previous
        self._rows.write_weights_and_gradients(block.both)
        torch.sub(block.now, block.before, out=block.step)
        torch.sub(block.now, self._start, out=block.moved)
        known = self._number > 0 and not self._foreign
        if known:
            torch.sub(block.before, previous.now, out=block.outside)
        norms = torch.linalg.vector_norm(block.all, dim=2)
        products = (block.gradients * self._directions).sum(1) if self._summed else None
        skipped = number - 1 - self._number if known else None
        self._moves = _Moves(norms, products, block, previous.before, skipped, self._summed)
        if number >= _SETTLED:
            self._directions.addcdiv_(block.gradients, norms[-1].clamp_min(_TINY)[:, None])
            self._summed += 1
        self._number, self._now, self._previous = number, previous, block
        if self._foreign:
            self._now.before.copy_(block.now)

    def ratios(self) -> Ratios:
        """The sizes of the changes in the last step, relative to the weights; unknown where none was measured yet."""
        moves = self._moves
        if moves is None:
            unknown = (None,) * len(self.names)
            return Ratios(unknown, unknown, unknown, unknown, unknown)
        step, moved, outside, before, now, gradients = moves.norms.tolist()
        new = moves is not self._read  # an optimizer that did not step since shows its last step again
        repeated = new and moves.skipped == 0 and any(step) and any(gradients) and gradients == self._sizes
        self._sizes, self._read = gradients, moves
        scales = self._compared()
        sizes = scales.now(before)
        updates, between = scales.updates(step, sizes), scales.between(outside, sizes, moves.skipped)
        if any(between):  # the rest is not more than all of it
            between = scales.between(torch.linalg.vector_norm(_unmasked(moves), dim=1).tolist(), sizes, moves.skipped)
        back = any(outside) and moved == step and bool((moves.block.before == self._start).all())
        return Ratios(
            updates,
            scales.distances(moved),
            between,
            _turns(moves, gradients),
            self._decay.shares(before, step, gradients),
            "" if all(map(math.isfinite, now + gradients)) else self._lost(moves),
            repeated,
            back,
        )

    def _compared(self) -> Scales:
        if self._scales is None:
            planned = [1.0 / math.sqrt(max(p.numel() // max(p.shape[0], 1), 1)) for p in self._parameters]
            start = torch.linalg.vector_norm(self._start, dim=1).tolist()
            self._scales = Scales(self._rows.counts, planned, start)
        return self._scales

    def _lost(self, moves: _Moves) -> str:
        """The first gradient with an entry that is not finite, else the first such weight."""
        now, gradients = moves.block.both.isfinite().all(2).tolist()
        lost = [f"gradient of {n}" for n, finite in zip(self.names, gradients, strict=True) if not finite]
        lost += [n for n, finite in zip(self.names, now, strict=True) if not finite]
        return lost[0] if lost else ""


def _turns(moves: _Moves, gradients: Sequence[float]) -> tuple[float | None, ...]:
    """Mean cosines of the gradients and earlier ones."""
    if moves.products is None:
        return (None,) * len(gradients)
    lengths = [size * moves.summed for size in gradients]
    products = zip(moves.products.tolist(), lengths, strict=True)
    return tuple(p / n if 0 < n < math.inf and math.isfinite(p) else None for p, n in products)


def _unmasked(moves: _Moves) -> torch.Tensor:
    """The change from outside, without entries that are put back to zero after every step, or to a shared bound.

    Masks of pruned weights do the first, weights that are clipped the second.
    """
    change, now, before = moves.block.outside, moves.block.before, moves.earlier
    bound = now.abs()
    at_bound = (bound == bound.amax(1, keepdim=True)) & (bound > 0)
    clipped = at_bound & (at_bound.sum(1, keepdim=True) >= _SHARED)
    return change * ((before != 0) | (now != 0)) * ~clipped
