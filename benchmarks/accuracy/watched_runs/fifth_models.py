"""Networks, losses and optimizers that no earlier set of runs has: flows, graphs, codes, sequences, equations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.accuracy.watched_runs.loop import Batch, Training, rows
from benchmarks.accuracy.watched_runs.models import mlp

__all__ = [
    "Averaged",
    "Bag",
    "Coded",
    "Flow",
    "GraphNet",
    "Lion",
    "Reader",
    "ScheduleFree",
    "Steps",
    "WithAverage",
    "alike",
    "half_labelled",
    "looped",
    "neighbours",
    "of_an_equation",
]


def looped(model: nn.Module, optimizer: Any, losses: Callable[[int], torch.Tensor], after: Any = None) -> Training:
    """The usual loop over a loss of the step's number."""

    def body(n: int) -> torch.Tensor:
        value = losses(n)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if after is not None:
            after(n)
        return value.detach()

    return Training(model=model, optimizers=optimizer, body=body)


class Lion(torch.optim.Optimizer):
    """Signs of an average of gradients; decay apart from them."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            one, two = group["betas"]
            for p in (p for p in group["params"] if p.grad is not None):
                kept = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * torch.sign(one * kept + (1 - one) * p.grad))
                kept.mul_(two).add_(p.grad, alpha=1 - two)


class ScheduleFree(torch.optim.Optimizer):
    """SGD whose weights lie between a fast point and its average, as schedule-free training keeps them."""

    def __init__(self, params: Any, lr: float, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["k"] += 1
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                fast, mean = state.setdefault("z", p.clone()), state.setdefault("x", p.clone())
                fast.sub_(p.grad, alpha=group["lr"])
                mean.lerp_(fast, 1 / group["k"])
                p.copy_(torch.lerp(fast, mean, group["beta"]))


class Averaged:
    """Every five steps the weights go half the way back to where they were five steps before (lookahead)."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.slow = model, [p.detach().clone() for p in model.parameters()]

    def __call__(self, n: int) -> None:
        if n % 5 == 4:
            with torch.no_grad():
                for slow, p in zip(self.slow, self.model.parameters(), strict=True):
                    slow.lerp_(p, 0.5)
                    p.copy_(slow)


class WithAverage(nn.Module):
    """A network that holds a slow average of itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.average = inner, copy.deepcopy(inner).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)

    @torch.no_grad()
    def follow(self, n: int) -> None:
        for slow, fast in zip(self.average.parameters(), self.inner.parameters(), strict=True):
            slow.lerp_(fast, 0.05)


class Flow(nn.Module):
    """Six affine couplings; gives the log-density."""

    def __init__(self, size: int = 13, width: int = 48) -> None:
        super().__init__()
        self.half = size // 2
        self.parts = nn.ModuleList(mlp(1, width, nn.Tanh, inputs=size, outputs=2 * size) for _ in range(6))
        for part in self.parts:
            nn.init.zeros_(part[-1].weight)
            nn.init.zeros_(part[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(x))
        for i, part in enumerate(self.parts):
            mask = (torch.arange(x.shape[1]) < self.half).float()
            mask = mask if i % 2 else 1 - mask
            scale, shift = part(x * mask).chunk(2, -1)
            scale = torch.tanh(scale) * (1 - mask)
            x = x * scale.exp() + shift * (1 - mask)
            total = total + scale.sum(-1)
        return total - x.square().sum(-1) / 2 - x.shape[1] * math.log(2 * math.pi) / 2


def neighbours(count: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(digits, their labels, a matrix that averages over each one's five neighbours)."""
    x, y = rows(size=count)(0)
    near = torch.cdist(x, x).topk(6, largest=False).indices
    mean = torch.zeros(count, count).scatter_(1, near, 1 / 6)
    return x, y, (mean + mean.T) / 2


class GraphNet(nn.Module):
    """Two layers that average over neighbours first."""

    def __init__(self, mean: torch.Tensor, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.first, self.second, self.drop = nn.Linear(64, width), nn.Linear(width, 10), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.mean @ self.drop(torch.relu(self.first(self.mean @ x))))


class Coded(nn.Module):
    """An autoencoder whose middle is the nearest of 64 codes, with a gradient that passes straight through."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encode, self.decode = mlp(1, 64, outputs=width), mlp(1, 64, inputs=width, outputs=64)
        self.codes = nn.Embedding(64, width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.encode(x)
        code = self.codes(torch.cdist(z, self.codes.weight).argmin(-1))
        apart = (code - z.detach()).square().mean() + 0.25 * (z - code.detach()).square().mean()
        return self.decode(z + (code - z).detach()), apart


class Reader(nn.Module):
    """A GRU over the rows of a picture that says at each row which digit it has read, or nothing."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(8, width, batch_first=True), nn.Linear(width, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0]).log_softmax(-1)


class Steps(nn.Module):
    """One field that is followed for eight small steps, as a neural ODE."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.field = mlp(1, 64, nn.Tanh, None, width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.entry(x)
        for _ in range(8):
            h = h + self.field(h) / 8
        return self.head(h)


class Bag(nn.Module):
    """The mean of many hashed codes, most of which are never read."""

    def __init__(self, rows: int, outputs: int, width: int = 32) -> None:
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(rows, width), mlp(1, 64, inputs=width, outputs=outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x))


def of_an_equation(rate: float, kind: Callable[..., Any]) -> Training:
    """u'' = -sin(x) with u = 0 at both ends: the loss reads derivatives of the outputs."""
    model = mlp(3, 32, nn.Tanh, inputs=1, outputs=1)
    optimizer = kind(model.parameters(), rate)
    ends = torch.tensor([[0.0], [math.pi]])

    def losses(n: int) -> torch.Tensor:
        x = (math.pi * torch.rand(64, 1)).requires_grad_()
        u = model(x)
        (one,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (two,) = torch.autograd.grad(one.sum(), x, create_graph=True)
        return (two + torch.sin(x)).square().mean() + model(ends).square().mean()

    return looped(model, optimizer, losses)


def alike(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Supervised contrast: each sample finds those of its class."""
    z = functional.normalize(output, dim=-1)
    near = (z @ z.T / 0.2).fill_diagonal_(-1e9).log_softmax(1)
    same = (y[:, None] == y[None]).float().fill_diagonal_(0)
    return -((near * same).sum(1) / same.sum(1).clamp_min(1)).mean()


def half_labelled(size: int = 64) -> Callable[[int], Batch]:
    """Digits of which only every fourth has a label; the others have -100."""
    batch = rows(size=size)

    def some(n: int) -> Batch:
        x, y = batch(n)
        return x, torch.where(torch.arange(size) % 4 == 0, y, -100)

    return some
