"""A training run as data, the usual loop with the places where faults go in, and batches of real data."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fanin.lab.data import character_corpus, load

__all__ = ["Batch", "Training", "characters", "ngrams", "plain", "pretrained", "rows", "vocabulary", "warmed"]

Batch = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[Any, torch.Tensor], torch.Tensor]


@dataclass(kw_only=True)
class Training:
    """A model in training.

    Attributes:
        model: what is watched.
        optimizers: what is given to the watch.
        body: makes the step of a number, from 0, and returns its loss.
        loss: the loss of the first batch as a function of the output; None where the loop has no such thing.
        warmup: steps until the peak rate is reached.
    """

    model: nn.Module
    optimizers: Any
    body: Callable[[int], Any]
    loss: Callable[[Any], torch.Tensor] | None = None
    warmup: int = 0


def plain(
    model: nn.Module,
    optimizer: Any,
    batch: Callable[[int], Batch],
    loss: Loss = functional.cross_entropy,
    *,
    scheduler: Any = None,
    warmup: int = 0,
    accumulate: int = 1,
    autocast: bool = False,
    clip: float | None = None,
    clear: bool = True,
    steps: bool = True,
    times: float = 1.0,
    after: Callable[[int], Any] | None = None,
    watched: Any = None,
) -> Training:
    """The usual loop: forward, backward, step; `after` is called with the number of each step when it is done."""

    def body(n: int) -> torch.Tensor:
        total = torch.zeros(())
        for part in range(accumulate):
            x, y = batch(n * accumulate + part)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                value = loss(model(x), y)
            (times * value / accumulate).backward()
            total = total + value.detach() / accumulate
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if steps:
            optimizer.step()
        if clear:
            optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
        if after is not None:
            after(n)
        return times * total

    first = batch(0)[1]
    return Training(
        model=model,
        optimizers=optimizer if watched is None else watched,
        body=body,
        loss=lambda output: loss(output, first),
        warmup=warmup,
    )


def warmed(optimizer: Any, steps: int, total: int | None = None) -> Any:
    """A linear warm-up, with a cosine to zero at `total` behind it if that is given."""
    first = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / steps, total_iters=steps)
    if total is None:
        return first
    then = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - steps)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[steps])


def pretrained(model: nn.Module, batch: Callable[[int], Batch], steps: int = 200, rate: float = 2e-3) -> nn.Module:
    """The model after some steps of Adam on these batches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for n in range(steps):
        x, y = batch(n)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@functools.cache
def _table(name: str) -> Batch:
    data = load(name)
    return torch.from_numpy(data.x), torch.from_numpy(data.y)


def rows(
    name: str = "digits",
    size: int = 64,
    *,
    shape: tuple[int, ...] | None = None,
    shuffled: bool = False,
    only: Callable[[torch.Tensor], torch.Tensor] | None = None,
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Callable[[int], Batch]:
    """Batches of a table of `fanin.lab.data`, drawn by their number alone.

    Args:
        name: of the data set.
        size: samples in a batch.
        shape: of one sample.
        shuffled: whether the targets are given to other samples.
        only: of the targets, which samples are used.
        change: what is done to the inputs.
    """
    x, y = _table(name)
    if only is not None:
        kept = only(y)
        x, y = x[kept], y[kept]
    if shuffled:
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(5))]
    if shape is not None:
        x = x.view(-1, *shape)
    if change is not None:
        x = change(x)

    def batch(n: int) -> Batch:
        chosen = torch.randint(len(x), (size,), generator=torch.Generator().manual_seed(1000 + n))
        return x[chosen], y[chosen]

    return batch


@functools.cache
def _text() -> tuple[torch.Tensor, int]:
    corpus = character_corpus()
    return torch.from_numpy(corpus.train), len(corpus.characters)


def vocabulary() -> int:
    """Number of characters of the text."""
    return _text()[1]


def characters(size: int = 16, length: int = 32) -> Callable[[int], Batch]:
    """Batches of text and the text one character on; targets are flat."""
    codes, _ = _text()

    def batch(n: int) -> Batch:
        starts = torch.randint(len(codes) - length - 1, (size,), generator=torch.Generator().manual_seed(2000 + n))
        pieces = torch.stack([codes[s : s + length + 1] for s in starts.tolist()])
        return pieces[:, :-1], pieces[:, 1:].reshape(-1)

    return batch


def ngrams(size: int = 64, length: int = 3, buckets: int = 20_000) -> Callable[[int], Batch]:
    """Batches of hashed groups of characters, and the character that follows: most rows of a table are never read."""
    codes, _ = _text()

    def batch(n: int) -> Batch:
        starts = torch.randint(8, len(codes) - 1, (size,), generator=torch.Generator().manual_seed(3000 + n))
        lists = []
        for s in starts.tolist():
            window = codes[s - 6 : s].tolist()
            lists.append([hash(tuple(g)) % buckets for g in itertools.pairwise(window)])
        return torch.tensor(lists), codes[starts]

    return batch
