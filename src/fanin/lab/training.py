"""One training run: a loop over batches, and what it left behind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean
from fanin.scaling.optimizers import Stepper, muon

__all__ = ["OPTIMIZERS", "Curve", "accuracy", "batches", "make_optimizer", "one_thread", "train"]

Batch = tuple[Any, Any]

OPTIMIZERS: dict[str, Callable[[Iterable[Any], float], Stepper]] = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
    "plain_sgd": lambda params, lr: torch.optim.SGD(params, lr=lr),
    "adam": lambda params, lr: torch.optim.Adam(params, lr=lr),
    "adamw": lambda params, lr: torch.optim.AdamW(params, lr=lr),
    "muon": muon,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A training run.

    Attributes:
        loss: loss of each step's batch before its update; a run that diverged ends early.
        seconds: wall time of the loop.
        diverged: whether a loss was not finite.
    """

    loss: tuple[float, ...]
    seconds: float
    diverged: bool

    def final(self, last: int = 20) -> float:
        """Mean loss of the last steps; inf for a run that diverged.

        Example:
            >>> Curve(loss=(3.0, 1.0, 1.0), seconds=0.1, diverged=False).final(2)
            1.0
        """
        return math.inf if self.diverged or not self.loss else float(np.mean(self.loss[-last:]))


def make_optimizer(
    optimizer: str | Callable[[Iterable[Any], float], Stepper],
    params: Iterable[Any],
    lr: float,
) -> Stepper:
    """An optimizer by name ("sgd" has momentum 0.9) or from a callable of (parameters or groups, learning rate)."""
    if callable(optimizer):
        return optimizer(params, lr)
    if optimizer not in OPTIMIZERS:
        raise UnknownNameError(f"there is no optimizer {optimizer!r}; {did_you_mean(optimizer, OPTIMIZERS)}")
    return OPTIMIZERS[optimizer](params, lr)


def _copied(values: Any) -> Tensor:
    """A tensor of its own: workers may hold read-only arrays, and the caller's tensors stay as they are."""
    return values.detach().clone() if isinstance(values, Tensor) else torch.tensor(values)


def batches(x: Any, y: Any, *, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches; the same seed gives the same batches to every run.

    Example:
        >>> first, _ = next(batches(np.eye(8, dtype=np.float32), np.arange(8), size=4, seed=0))
        >>> first.shape
        torch.Size([4, 8])
    """
    if not 1 <= size <= len(x):
        raise ArgumentError(
            f"a batch of {size} cannot be taken from {len(x)} samples; give a size from 1 to {len(x)} "
            f"(fanin.compare: batch_size={len(x)})"
        )
    xs, ys = _copied(x), _copied(y)
    rng = np.random.default_rng(seed)
    while True:
        order = torch.from_numpy(rng.permutation(len(xs)))
        for i in range(0, len(xs) - size + 1, size):
            pick = order[i : i + size]
            yield xs[pick], ys[pick]


def train(
    model: nn.Module,
    stream: Iterable[Batch],
    *,
    loss: Callable[[Any, Any], Tensor],
    optimizer: Stepper,
    steps: int,
    on_step: Callable[[int, float], None] | None = None,
) -> Curve:
    """Train for a number of steps; stops at the first loss that is not finite.

    Args:
        model: trained in place.
        stream: yields (inputs, targets); inputs may be a tuple or dict of arguments.
        loss: callable of (output, targets).
        optimizer: over the model's parameters.
        steps: number of updates.
        on_step: called with (step, loss) after each update.
    """
    losses: list[float] = []
    begin = time.perf_counter()
    diverged = False
    for step, (inputs, targets) in zip(range(steps), stream, strict=False):
        optimizer.zero_grad(set_to_none=True)
        value = loss(call(model, inputs), targets)
        number = float(value.detach())
        losses.append(number)
        if not math.isfinite(number):
            diverged = True
            break
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step(step, number)
    return Curve(loss=tuple(losses), seconds=time.perf_counter() - begin, diverged=diverged)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small networks run faster, and sums are rounded the same everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def call(model: nn.Module, inputs: Any) -> Any:
    """The model's output for a tensor, a tuple of positional or a mapping of keyword arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(inputs)


def accuracy(model: nn.Module, x: Any, y: Any) -> float:
    """Share of samples whose largest score is the right class, in evaluation mode; the mode is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            right = model(_copied(x)).argmax(dim=-1) == _copied(y)
        return float(right.double().mean())
    finally:
        model.train(was_training)
