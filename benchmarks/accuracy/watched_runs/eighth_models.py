"""Networks of the eighth set: taggers, an encoder and a decoder, codebooks, mixtures, energies, hashed grids, flows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.accuracy.watched_runs.loop import Batch, characters, rows
from benchmarks.accuracy.watched_runs.models import mlp

__all__ = [
    "Bags",
    "Codebook",
    "Energy",
    "Flow",
    "HashGrid",
    "Iterated",
    "LinearAttention",
    "Mixture",
    "Process",
    "Reverser",
    "Scaled",
    "StateSpace",
    "Tagger",
    "bags",
    "curves",
    "kinds",
    "likelihood",
    "of_curves",
    "pendulums",
    "quantiles",
    "reversals",
    "ring",
    "tagged",
]


class Tagger(nn.Module):
    """An LSTM in both directions that gives each character a class."""

    def __init__(self, count: int, classes: int = 4, width: int = 24) -> None:
        super().__init__()
        self.table = nn.Embedding(count, width)
        self.cell = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(self.table(x))[0])


def kinds(size: int = 16, length: int = 20) -> Callable[[int], Batch]:
    """Text, and a class of each character that depends on it and on its neighbour; ends of rows do not count."""
    text = characters(size, length)

    def batch(n: int) -> Batch:
        x, _ = text(n)
        y = (x % 2) * 2 + (x.roll(1, 1) % 3 == 0).long()
        kept = torch.arange(length) < torch.randint(8, length, (size, 1), generator=torch.Generator().manual_seed(n))
        return x, torch.where(kept, y, -100)

    return batch


def tagged(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with classes on the second axis."""
    return functional.cross_entropy(output.transpose(1, 2), y)


class Reverser(nn.Module):
    """An encoder and a decoder with attention between them; the input holds the source and what was written so far."""

    def __init__(self, count: int = 12, width: int = 32, cut: bool = False) -> None:
        super().__init__()
        self.table, self.cut = nn.Embedding(count, width), cut
        self.read, self.write = nn.GRU(width, width, batch_first=True), nn.GRU(width, width, batch_first=True)
        self.ask, self.head = nn.Linear(width, width), nn.Linear(2 * width, count)

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        source, target = self.table(pair[:, 0]), self.table(pair[:, 1])
        seen, last = self.read(source)
        if self.cut:
            seen, last = seen.detach(), last.detach()
        state, _ = self.write(target, last)
        weights = (self.ask(state) @ seen.transpose(1, 2) / math.sqrt(state.shape[-1])).softmax(-1)
        return self.head(torch.cat([state, weights @ seen], -1))


def reversals(size: int = 48, length: int = 6) -> Callable[[int], Batch]:
    """Rows of ten symbols, and the same backwards behind a start symbol."""

    def batch(n: int) -> Batch:
        source = torch.randint(2, 12, (size, length), generator=torch.Generator().manual_seed(n))
        target = source.flip(1)
        return torch.stack([source, torch.cat([torch.ones(size, 1).long(), target[:, :-1]], 1)], 1), target

    return batch


class Codebook(nn.Module):
    """An autoencoder through the nearest of 32 vectors, with gradients that pass straight through; gives its loss."""

    def __init__(self, codes: int = 32, width: int = 8) -> None:
        super().__init__()
        self.encode, self.decode = mlp(1, 64, outputs=4 * width), mlp(1, 64, inputs=4 * width, outputs=64)
        self.codes = nn.Parameter(torch.randn(codes, width) / math.sqrt(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encode(x).view(len(x), 4, -1)
        near = self.codes[torch.cdist(z.flatten(0, 1), self.codes).argmin(1)].view_as(z)
        through = z + (near - z).detach()
        kept = functional.mse_loss(near, z.detach()) + 0.25 * functional.mse_loss(z, near.detach())
        return functional.mse_loss(self.decode(through.flatten(1)), x) + kept


class Mixture(nn.Module):
    """Weights, means and logarithms of the spreads of five Gaussians for each input."""

    def __init__(self, width: int = 32, parts: int = 5) -> None:
        super().__init__()
        self.body, self.parts = mlp(2, width, nn.Tanh, inputs=1, outputs=3 * parts), parts

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.body(x).split(self.parts, 1)


def curves(size: int = 128) -> Callable[[int], Batch]:
    """A curve that turns back on itself: several outputs for one input."""

    def batch(n: int) -> Batch:
        drawn = torch.Generator().manual_seed(n)
        y = torch.rand(size, 1, generator=drawn) * 2 - 1
        return y + 0.3 * torch.sin(6 * y) + 0.05 * torch.randn(size, 1, generator=drawn), y

    return batch


def likelihood(output: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
    """Minus the logarithm of the density."""
    shares, means, logs = output
    each = -0.5 * ((y - means) / logs.exp()).square() - logs - 0.5 * math.log(2 * math.pi)
    return -(shares.log_softmax(1) + each).logsumexp(1).mean()


class Energy(nn.Module):
    """A network whose output is an energy; its gradient gives the motion (second order)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.body = mlp(2, width, nn.Tanh, inputs=2, outputs=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(self.body(x).sum(), x, create_graph=True)
        return torch.stack([slope[:, 1], -slope[:, 0]], 1)


def pendulums(size: int = 96) -> Callable[[int], Batch]:
    """Angles and speeds of pendulums, and how both change."""

    def batch(n: int) -> Batch:
        x = torch.rand(size, 2, generator=torch.Generator().manual_seed(n)) * 4 - 2
        return x, torch.stack([x[:, 1], -torch.sin(x[:, 0])], 1)

    return batch


class Iterated(nn.Module):
    """One map that is applied eight times to a state, with the input added each time."""

    def __init__(self, width: int = 64, times: int = 8) -> None:
        super().__init__()
        self.entry, self.step, self.norm = nn.Linear(64, width), nn.Linear(width, width), nn.LayerNorm(width)
        self.head, self.times = nn.Linear(width, 10), times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = self.entry(x)
        h = torch.zeros_like(given)
        for _ in range(self.times):
            h = torch.tanh(self.norm(self.step(h) + given))
        return self.head(h)


class HashGrid(nn.Module):
    """Places are looked up in tables of three finenesses; a small network reads what is found."""

    def __init__(self, size: int = 512) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 4) for _ in range(3))
        for table in self.tables:
            nn.init.uniform_(table.weight, -1e-2, 1e-2)
        self.body, self.size = mlp(1, 32, inputs=12, outputs=1), size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for level, table in enumerate(self.tables):
            cells = (x * 4 * 2**level).long()
            found.append(table((cells[:, 0] * 7919 + cells[:, 1] * 104729) % self.size))
        return self.body(torch.cat(found, 1))


def ring(size: int = 256) -> Callable[[int], Batch]:
    """Places in a square, and a pattern of rings."""

    def batch(n: int) -> Batch:
        x = torch.rand(size, 2, generator=torch.Generator().manual_seed(n))
        return x, torch.sin(12 * (x - 0.5).norm(dim=1, keepdim=True))

    return batch


class Flow(nn.Module):
    """The speed of a point that goes from noise to data, from its place and its time; gives its loss."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.body = mlp(3, width, nn.SiLU, inputs=65, outputs=64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t, noise = torch.rand(len(x), 1), torch.randn_like(x)
        return functional.mse_loss(self.body(torch.cat([t * x + (1 - t) * noise, t], 1)), x - noise)


class Process(nn.Module):
    """Points of a curve are read as a set; mean and spread at other points are given (conditional neural process)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.read, self.tell = mlp(2, width, inputs=2, outputs=width), mlp(2, width, inputs=width + 1, outputs=2)

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        seen, asked = pair[:, :10], pair[:, 10:, :1]
        known = self.read(seen).mean(1, keepdim=True).expand(-1, asked.shape[1], -1)
        return self.tell(torch.cat([known, asked], -1))


def of_curves(size: int = 32) -> Callable[[int], Batch]:
    """Twenty points of sines of chance height and shift: ten are shown, ten are asked for."""

    def batch(n: int) -> Batch:
        drawn = torch.Generator().manual_seed(n)
        x = torch.rand(size, 20, 1, generator=drawn) * 4 - 2
        height, shift = torch.rand(2, size, 1, 1, generator=drawn)
        y = (0.5 + height) * torch.sin(2 * x + 3 * shift)
        return torch.cat([x, y], -1), y[:, 10:, 0]

    return batch


class StateSpace(nn.Module):
    """Sixteen states a channel that decay at their own rates, read out over the rows of a picture."""

    def __init__(self, width: int = 32, states: int = 16) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.logs = nn.Parameter(torch.log(torch.rand(width, states) + 0.1))
        self.out = nn.Parameter(torch.randn(width, states) / math.sqrt(states))
        self.mix = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.entry(x)
        kernel = (self.out[..., None] * torch.exp(-self.logs.exp()[..., None] * torch.arange(8))).sum(1)
        spread = torch.stack([(h[:, : t + 1] * kernel[:, : t + 1].flip(1).T).sum(1) for t in range(8)], 1)
        return self.head(functional.gelu(self.mix(spread)).mean(1))


class LinearAttention(nn.Module):
    """Two blocks of attention without a softmax over the rows of a picture, with RMSNorm."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.entry, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.maps = nn.ModuleList(nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.outs = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.entry(x)
        for maps, out, norm in zip(self.maps, self.outs, self.norms, strict=True):
            q, k, v = maps(norm(h)).chunk(3, -1)
            q, k = functional.elu(q) + 1, functional.elu(k) + 1
            h = h + out(q @ (k.transpose(1, 2) @ v) / (q @ k.sum(1)[..., None]))
        return self.head(h.mean(1))


class Scaled(nn.Module):
    """A frozen layer whose outputs are scaled by a trained vector that starts at one."""

    def __init__(self, base: nn.Module, width: int) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) * self.scale


class Bags(nn.Module):
    """Twelve digits in a bag are weighed and summed up; is there a seven?"""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.body, self.weigh, self.head = mlp(1, width, outputs=width), nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.body(x))
        return self.head((self.weigh(torch.tanh(h)).softmax(1) * h).sum(1))[:, 0]


def bags(size: int = 32) -> Callable[[int], Batch]:
    """Bags of twelve digits, and whether a seven is inside."""
    digits = rows(size=12 * size)

    def batch(n: int) -> Batch:
        x, y = digits(n)
        return x.view(size, 12, 64), (y.view(size, 12) == 7).any(1).float()

    return batch


def quantiles(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of the tenth, the fiftieth and the ninetieth percentile."""
    off = (y.float().view(-1, 1) - 152) / 77 - output
    levels = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(levels * off, (levels - 1) * off).mean()
