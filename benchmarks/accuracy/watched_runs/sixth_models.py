"""Networks and optimizers of the sixth set: factors, sparse codes, adapters, weights that other networks make."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.accuracy.watched_runs.loop import Batch, characters, rows
from benchmarks.accuracy.watched_runs.models import mlp

__all__ = [
    "Adapter",
    "Angular",
    "Cells",
    "Factors",
    "Guessed",
    "Lars",
    "Made",
    "Prompted",
    "Rounded",
    "SetNet",
    "Sparse",
    "Words",
    "contexts",
    "marginal",
    "ratings",
    "several",
    "sums",
]


class Lars(torch.optim.Optimizer):
    """SGD with momentum whose step is a share of the size of each weight."""

    def __init__(self, params: Any, lr: float, trust: float = 0.02) -> None:
        super().__init__(params, {"lr": lr, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                share = group["trust"] * p.norm() / (p.grad.norm() + 1e-9) if p.dim() > 1 and p.norm() > 0 else 0.1
                kept = self.state[p].setdefault("kept", torch.zeros_like(p))
                kept.mul_(0.9).add_(share * p.grad)
                p.sub_(group["lr"] * kept)


class Factors(nn.Module):
    """A rating as the product of a row and a column vector."""

    def __init__(self, people: int = 120, things: int = 80, width: int = 8) -> None:
        super().__init__()
        self.people, self.things = nn.Embedding(people, width), nn.Embedding(things, width)
        for table in (self.people, self.things):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return (self.people(pairs[:, 0]) * self.things(pairs[:, 1])).sum(-1)


def ratings(size: int = 256) -> Callable[[int], Batch]:
    """Pairs and their ratings, of rank four with noise."""
    made = torch.Generator().manual_seed(11)
    left, right = torch.randn(120, 4, generator=made), torch.randn(80, 4, generator=made)

    def batch(n: int) -> Batch:
        drawn = torch.Generator().manual_seed(n)
        pairs = torch.stack([torch.randint(k, (size,), generator=drawn) for k in (120, 80)], 1)
        noise = 0.1 * torch.randn(size, generator=drawn)
        return pairs, (left[pairs[:, 0]] * right[pairs[:, 1]]).sum(-1) / 2 + noise

    return batch


class Words(nn.Module):
    """Vectors of characters and of their neighbours (word2vec)."""

    def __init__(self, count: int, width: int = 24) -> None:
        super().__init__()
        self.inner, self.outer = nn.Embedding(count, width), nn.Embedding(count, width)
        nn.init.uniform_(self.inner.weight, -0.5 / width, 0.5 / width)
        nn.init.normal_(self.outer.weight, std=0.1)

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return (self.inner(pairs[:, 0]) * self.outer(pairs[:, 1])).sum(-1)


def contexts(count: int, size: int = 512) -> Callable[[int], Batch]:
    """Neighbours in the text with label 1, and random pairs with label 0."""
    text = characters(size // 2, 2)

    def batch(n: int) -> Batch:
        x, _ = text(n)
        other = torch.randint(count, (len(x),), generator=torch.Generator().manual_seed(n))
        pairs = torch.cat([x, torch.stack([x[:, 0], other], 1)])
        return pairs, torch.cat([torch.ones(len(x)), torch.zeros(len(x))])

    return batch


class Sparse(nn.Module):
    """An autoencoder of 256 codes, few of which are on; the columns of its decoder keep length one."""

    def __init__(self, codes: int = 256) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, codes), nn.Linear(codes, 64)
        self.keep(0)
        with torch.no_grad():
            self.up.weight.copy_(self.down.weight.T)
            self.up.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        codes = torch.relu(self.up(x))
        return (self.down(codes) - x).square().sum(-1).mean() + 0.05 * codes.sum(-1).mean()

    @torch.no_grad()
    def keep(self, n: int) -> None:
        self.down.weight.div_(self.down.weight.norm(dim=0, keepdim=True))


class Adapter(nn.Module):
    """A frozen layer with a narrow pair behind it, of which the second map starts at zero."""

    def __init__(self, base: nn.Module, width: int = 8) -> None:
        super().__init__()
        size = base.out_features
        self.base, self.down, self.up = base.requires_grad_(False), nn.Linear(size, width), nn.Linear(width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.base(x)
        return h + self.up(functional.gelu(self.down(h)))


class Prompted(nn.Module):
    """A frozen transformer over rows with four trained rows in front."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.prompt = inner.requires_grad_(False), nn.Parameter(0.1 * torch.randn(4, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inner.entry(x) + self.inner.place
        h = torch.cat([self.prompt.expand(len(h), -1, -1), h], 1)
        for block in self.inner.blocks:
            h = block(h)
        return self.inner.head(h.mean(1))


class Made(nn.Module):
    """The weights of a layer are made by another network from a code for each row."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.codes, self.maker = nn.Parameter(torch.randn(width, 8)), mlp(1, 32, inputs=8, outputs=64)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(functional.linear(x, self.maker(self.codes) / 2)))


class SetNet(nn.Module):
    """Each element through one network, their sum through another."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = mlp(1, 48, inputs=1, outputs=48), mlp(1, 48, inputs=48, outputs=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x[..., None]).mean(1))[:, 0]


def sums(size: int = 128) -> Callable[[int], Batch]:
    """Sets of ten numbers and the largest of each."""

    def batch(n: int) -> Batch:
        x = torch.rand(size, 10, generator=torch.Generator().manual_seed(n))
        return x, 4 * x.amax(1) - 3.6

    return batch


class Angular(nn.Module):
    """Logits are cosines times 16, those of the right class with a margin in training (ArcFace without the target)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body, self.centres = mlp(2, 64, outputs=width), nn.Parameter(torch.randn(10, width) / math.sqrt(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.body(x), dim=-1) @ functional.normalize(self.centres, dim=-1).T


def marginal(cosines: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(16 * (cosines - 0.2 * functional.one_hot(y, 10)), y)


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: torch.Tensor) -> torch.Tensor:
        step = w.abs().amax() / 7
        return (w / step).round() * step

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        return g


class Rounded(nn.Module):
    """Weights of four bits in the forward pass, with gradients that pass straight through."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in ((64, width), (width, width), (width, 10)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, layer in enumerate(self.layers):
            x = functional.linear(torch.relu(x) if i else x, _Round.apply(layer.weight), layer.bias)
        return x


class Guessed(nn.Module):
    """Each weight has a mean and a spread, and is drawn anew in every pass (Bayes by backprop)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.means, self.spreads = nn.ParameterList(), nn.ParameterList()
        for a, b in ((64, width), (width, 10)):
            self.means.append(nn.Parameter(torch.randn(b, a) / math.sqrt(a)))
            self.spreads.append(nn.Parameter(torch.full((b, a), -5.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, (mean, spread) in enumerate(zip(self.means, self.spreads, strict=True)):
            weight = mean + functional.softplus(spread) * torch.randn_like(mean)
            x = functional.linear(torch.relu(x) if i else x, weight)
        return x


class Cells(nn.Module):
    """An LSTM cell that is called for each row of a picture, with dropout between."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.cell, self.drop, self.head = nn.LSTMCell(8, width), nn.Dropout(0.2), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(len(x), self.cell.hidden_size)
        for row in x.unbind(1):
            h, c = self.cell(row, (self.drop(h), c))
        return self.head(h)


def several(size: int = 64) -> Callable[[int], Batch]:
    """Digits and which of ten properties they have: even, above four, ..."""
    batch = rows(size=size)
    table = torch.rand(10, 10, generator=torch.Generator().manual_seed(3)).lt(0.3).float()

    def labels(n: int) -> Batch:
        x, y = batch(n)
        return x, table[y]

    return labels
